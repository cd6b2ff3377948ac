"""Pairs of parts train and resume exactly or are refused with a reason, as docs/combinations.md says; triples too.

All pairs are played by `python benchmarks/together.py`, which writes the page; here a sixth of its rows are once more.
"""

import importlib.util
import random
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "combinations.md"

_spec = importlib.util.spec_from_file_location("together", ROOT / "benchmarks" / "together.py")
together = sys.modules["together"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(together)

PARTS = together.changes()
TRIPLES = 200


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """So small that threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written():
    """The matrix as it stands on the page, a string of symbols for each part."""
    block = PAGE.read_text(encoding="utf-8").split("```")[1]
    rows = [line.rstrip() for line in block.strip("\n").splitlines()]
    return {line[4:].rsplit(" ", 1)[0].rstrip(): line.rsplit(" ", 1)[1] for line in rows}


def test_the_page_has_every_part():
    assert list(written()) == list(PARTS)


@pytest.mark.parametrize("name", list(PARTS)[5::6])
def test_pairs(name):
    results = together.row(name)
    assert together.symbols(results) == written()[name]
    page = PAGE.read_text(encoding="utf-8")
    for result in results:
        assert (result.outcome == "refused") <= bool(result.sentences)
        for sentence in result.sentences:
            assert sentence.replace("|", "/") in page


def triples():
    chosen = random.Random(0)
    names = list(PARTS)
    while True:
        names_of_three = sorted(chosen.sample(names, 3), key=lambda name: chosen.random())
        if not together.clash(*(PARTS[name] for name in names_of_three)):
            yield names_of_three


@pytest.mark.parametrize("tenth", range(10))
def test_triples(tenth):
    """Half of them with a branch and a discriminator for each class."""
    drawn = [names for names, _ in zip(triples(), range(TRIPLES), strict=False)]
    for number, names in enumerate(drawn[tenth::10]):
        base = together.BY_CLASS if number % 2 else together.TINY
        result = together.train(*(PARTS[name] for name in names), base=base)
        assert (result.outcome == "refused") <= bool(result.sentences), names


def test_a_game_that_resumes_inexactly_would_be_seen(monkeypatch):
    real = together.restore
    monkeypatch.setattr(together, "restore", lambda run, *rest: (real(run, *rest), run.draw()))
    with pytest.raises(AssertionError):
        together.train()


@pytest.mark.parametrize("base", ["TINY", "BY_CLASS"])
@pytest.mark.parametrize("name", PARTS)
def test_alone_with_one_channel_another_size_and_bf16(name, base):
    odd = {"data": {"channels": 1, "resolution": 12}, "train": {"precision": "bf16", "discriminator_steps": 2}}
    result = together.train(PARTS[name], base=together.merge(getattr(together, base), odd))
    assert (result.outcome == "refused") <= bool(result.sentences)
    assert (result.outcome == "refused") is (name == "skip_z" and base == "BY_CLASS")
