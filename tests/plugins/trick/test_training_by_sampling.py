"""Tests of training by sampling."""

import math

import pytest
import torch

from gankit import InputError
from gankit.testing import tiny_run
from gankit_plugins.data.drawn_table import DrawnTable
from gankit_plugins.discriminator.ctgan import CtganDiscriminator
from gankit_plugins.generator.ctgan import Ctgan
from gankit_plugins.layers.table_columns import Column, categories, columns_of, split
from gankit_plugins.trick.packing import Packing
from gankit_plugins.trick.training_by_sampling import (
    TrainingBySampling,
    as_condition,
    condition_loss,
    draw_rows,
    draw_words,
    index_words,
    requested_words,
)

PARTS = {DrawnTable: {"count": 200}, Ctgan: {"hidden": [8]}, CtganDiscriminator: {"hidden": [8]}}
COLUMNS = (
    Column("a", "category", words=("x", "y"), counts=(9, 1)),
    Column("n", "number", weights=(1.0,), means=(0.0,), stds=(1.0,), low=-1, high=1),
    Column("b", "category", words=("p", "q", "r"), counts=(1, 2, 7)),
)


def test_rows_are_drawn_by_the_logarithm_of_the_frequency():
    torch.manual_seed(0)
    a = torch.tensor([0] * 9 + [1])
    b = torch.tensor([2, 1, 2, 0, 2, 2, 1, 2, 2, 2])
    index = index_words([a, b], [2, 3])
    assert index.counts.tolist() == [[9, 1, 0], [1, 2, 7]]
    assert index.offsets.tolist() == [0, 2]
    chosen, word = draw_words(index.counts.double().log1p().float(), 40_000)
    shares = (chosen * 3 + word).bincount(minlength=6) / 40_000
    logs = [[math.log(1 + n) for n in counts] for counts in ([9, 1, 0], [1, 2, 7])]
    expected = [0.5 * value / sum(row) for row in logs for value in row]
    assert shares.tolist() == pytest.approx(expected, abs=0.01)
    rows = draw_rows(index, chosen, word)
    assert torch.equal(torch.stack([a, b])[chosen, rows], word)
    drawn = rows[(chosen == 1) & (word == 2)].bincount(minlength=10)
    assert (drawn > 0).tolist() == (b == 2).tolist()
    assert drawn[b == 2].double().std() / drawn[b == 2].double().mean() < 0.1


def test_loss_of_the_condition_by_a_naive_loop():
    rows = torch.tensor([[0.9, 0.1, 0.3, 1.0, 0.2, 0.3, 0.5], [0.0, 1.0, 0.3, 1.0, 0.6, 0.3, 0.1]])
    condition = as_condition(torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([1, 0]), 5)
    assert condition.tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]
    expected = -(math.log(0.3) + math.log(1e-30)) / 2
    assert condition_loss(rows, condition, COLUMNS).item() == pytest.approx(expected)


def test_requested_words():
    assert requested_words(COLUMNS, {"b": "q"}) == (1, 1)
    for requested, message in (
        ({"n": "1"}, "n: there is no such category; there are a, b"),
        ({"b": "x"}, "b: 'x' is no word of this category; there are p, q, r"),
        ({"a": "x", "b": "q"}, "a, b: the generator takes one word at a time"),
    ):
        with pytest.raises(InputError, match=message):
            requested_words(COLUMNS, requested)


def test_steps_of_a_run_with_packs():
    run = tiny_run(PARTS | {TrainingBySampling: {}, Packing: {"size": 4}})
    run.start()
    step = run.draw_step(run, "discriminator")
    columns = columns_of(run.spec.encoding, "test")
    words = [p.argmax(1) for c, p in zip(columns, split(step.real, columns), strict=True) if c.is_category]
    position = step.condition.argmax(1)
    assert (step.condition.sum(1) == 1).all()
    jobs = position < 4
    assert torch.equal(words[0][jobs], position[jobs])
    assert torch.equal(words[1][~jobs], position[~jobs] - 4)
    inputs, condition = step.real_inputs
    packs = len(step.real) // 4
    assert inputs.shape == (packs, 4 * run.spec.shape[0])
    assert torch.equal(condition.view(packs, 4, -1), step.condition.view(packs, 4, -1))
    assert step.real_output.logits.shape == (packs,)


def test_conditions_of_samples_have_the_frequencies_of_the_data():
    run = tiny_run(PARTS | {TrainingBySampling: {}})
    trick = run.plugins["tricks.training_by_sampling"]
    columns = categories(columns_of(run.spec.encoding, "test"))
    drawn = trick.sampling_conditions(20_000, {}, torch.Generator().manual_seed(0), run.spec)
    expected = [n / 200 / 2 for column in columns for n in column.counts]
    assert drawn.mean(0).tolist() == pytest.approx(expected, abs=0.01)
    asked = trick.sampling_conditions(3, {"member": "yes"}, torch.Generator(), run.spec)
    assert asked.tolist() == [[0, 0, 0, 0, 0, 1]] * 3
