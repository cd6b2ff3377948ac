"""Tests of the encoding of table columns."""

import json
import math

import pytest
import torch

from gankit import InputError
from gankit_plugins.layers.table_columns import Column, columns_of, decode_rows, row_features, to_encoding

NUMBER = Column(
    "n", "number", weights=(0.5, 0.5), means=(0.0, 10.0), stds=(1.0, 2.0), low=-3, high=17, decimals=1, missing="?"
)
WORD = Column("w", "category", words=("", "a", "b"), counts=(1, 2, 3))


def test_a_number_by_the_formula_of_the_paper():
    values = torch.tensor([0.5, 12.0, math.nan, 30.0], dtype=torch.float64)
    part = NUMBER.encode(values, torch.Generator().manual_seed(0))
    # (c - mu) / (4 sigma), and the one-hot vector of the mode; the last mode is that of missing numbers.
    expected = [[0.5 / 4, 1, 0, 0], [2 / 8, 0, 1, 0], [0, 0, 0, 1], [1, 0, 1, 0]]
    torch.testing.assert_close(part, torch.tensor(expected))
    assert NUMBER.decode(part).tolist() == pytest.approx([0.5, 12.0, math.nan, 17.0], nan_ok=True)
    relaxed = torch.tensor([[0.26, 0.6, 0.3, 0.1], [-1.0, 0.4, 0.2, 0.3]])
    assert NUMBER.decode(relaxed).tolist() == pytest.approx([1.0, -3.0])


def test_modes_are_drawn_by_their_posterior():
    column = Column("n", "number", weights=(0.75, 0.25), means=(-1.0, 1.0), stds=(1.0, 1.0), low=-9, high=9)
    part = column.encode(torch.zeros(20_000, dtype=torch.float64), torch.Generator().manual_seed(1))
    assert part[:, 1].mean().item() == pytest.approx(0.75, abs=0.01)


def test_words_and_their_description_as_json():
    columns = columns_of(json.loads(json.dumps(to_encoding([NUMBER, WORD]))), "test")
    assert columns == (NUMBER, WORD)
    rows = torch.cat(
        [
            NUMBER.encode(torch.tensor([1.0, math.nan]).double(), torch.Generator()),
            WORD.encode(torch.tensor([2.0, 0.0]), torch.Generator()),
        ],
        dim=1,
    )
    assert rows.shape == (2, NUMBER.size + WORD.size)
    number, word = decode_rows(rows, columns)
    assert number.tolist() == pytest.approx([1.0, math.nan], nan_ok=True)
    assert word.tolist() == [2.0, 0.0]
    with pytest.raises(InputError, match="x needs the rows of a table"):
        columns_of({}, "x")


def test_distances_between_features():
    mean, std = 5.0, math.sqrt(0.5 * (1 + 25) + 0.5 * (4 + 25))
    values = torch.tensor([mean, mean + round(std, 1), mean, math.nan], dtype=torch.float64)
    words = torch.tensor([1.0, 1.0, 2.0, 1.0])
    rows = torch.cat([one.encode(v, torch.Generator()) for one, v in ((NUMBER, values), (WORD, words))], dim=1)
    features = row_features(rows, [NUMBER, WORD])
    apart = torch.cdist(features, features)[0]
    assert apart.tolist() == pytest.approx([0, 1, 1, 1], abs=0.02)
    assert row_features(rows, [NUMBER, WORD], without="w").shape == (4, 2)
