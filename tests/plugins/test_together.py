"""Combinations of plugins train and resume exactly, or are refused with a reason, as in docs/combinations.md.

`python benchmarks/together.py` trains all pairs and writes the page. These tests compare the refusals and warnings of a
twelfth of its rows, and train triples.
"""

import random
from functools import reduce
from itertools import islice
from pathlib import Path

import pytest
import together

from gankit import InputError, Recipe

PAGE = Path(__file__).parents[2] / "docs" / "combinations.md"

PARTS = together.changes()

NOT_PER_CLASS = (
    *("skip_z", "self_attention", "skip_layer_excitation", "discriminator_reconstruction"),
    *("auxiliary_classifier", "conditional_batch_norm in G"),
)
"""Plugins that refuse networks with a branch or a discriminator for each class."""


def written():
    """Return the matrix of the page, a string of symbols for each plugin."""
    block = PAGE.read_text(encoding="utf-8").split("```")[1]
    rows = [line.rstrip() for line in block.strip("\n").splitlines()]
    return {line[4:].rsplit(" ", 1)[0].rstrip(): line.rsplit(" ", 1)[1] for line in rows}


def test_page_has_every_plugin():
    assert list(written()) == list(PARTS)


@pytest.mark.parametrize("name", list(PARTS)[5::12])
def test_pairs(name, monkeypatch):
    def start(*combined):
        recipe = Recipe.from_dict(reduce(together.merge, combined, together.TINY))
        try:
            warnings = together.started(recipe).warnings
        except InputError as refused:
            return together.Result("refused", [line.partition(": ")[2] for line in str(refused).splitlines()])
        return together.Result("warning" if warnings else "trains", warnings)

    monkeypatch.setattr(together, "train", start)
    results = together.row(name)
    assert together.symbols(results) == written()[name]
    page = PAGE.read_text(encoding="utf-8")
    for result in results:
        assert (result.outcome == "refused") <= bool(result.sentences)
        for sentence in result.sentences:
            assert sentence.replace("|", "/") in page


def triples():
    generator = random.Random(0)
    names = list(PARTS)
    while True:
        names_of_three = sorted(generator.sample(names, 3), key=lambda name: generator.random())
        if not together.clash(*(PARTS[name] for name in names_of_three)):
            yield names_of_three


@pytest.mark.parametrize("part", range(4))
def test_triples(part):
    """Half of the triples have a branch and a discriminator for each class."""
    for number, names in enumerate(islice(triples(), part, 48, 4)):
        base = together.BY_CLASS if number % 2 else together.TINY
        result = together.train(*(PARTS[name] for name in names), base=base)
        assert (result.outcome == "refused") <= bool(result.sentences), names


def test_inexact_resume_is_detected(monkeypatch):
    real = together.restore
    monkeypatch.setattr(together, "restore", lambda run, *rest: (real(run, *rest), run.draw_real()))
    with pytest.raises(AssertionError):
        together.train()


@pytest.mark.parametrize("name", PARTS)
def test_single_plugin_with_one_channel_another_size_and_bf16(name):
    size = 16 if name == "progressive_growing" else 12
    change = {"data": {"channels": 1, "resolution": size}, "train": {"precision": "bf16", "discriminator_steps": 2}}
    base = together.TINY if name in NOT_PER_CLASS else together.BY_CLASS
    assert together.train(PARTS[name], base=together.merge(base, change)).outcome != "refused"
