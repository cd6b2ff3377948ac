"""Dataset of equations that are drawn by a rule, so the correctness of generated texts can be checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from gankit import Comparison, Dataset, Settings, hookimpl
from gankit_plugins.data.text_data import TextData, text_dataset
from gankit_plugins.layers.characters import decode

ALPHABET = "".join(sorted("0123456789+-="))
NUMBER = "(0|[1-9][0-9]*)"
EQUATION = re.compile(rf"{NUMBER}([+-]){NUMBER}=(0|-?[1-9][0-9]*)")


def equations(count: int, largest: int, seed: int) -> list[str]:
    """Draw `count` correct equations, such as `12+7=19` and `3-8=-5`. Both operands are from 0 to `largest`."""
    random = torch.Generator().manual_seed(seed)
    operands = torch.randint(largest + 1, (count, 2), generator=random).tolist()
    plus = torch.randint(2, (count,), generator=random).tolist()
    return [f"{a}{'-+'[p]}{b}={a + b if p else a - b}" for (a, b), p in zip(operands, plus, strict=True)]


def is_correct(line: str) -> bool | None:
    """Return True for a correct equation, False for a wrong result, and None if the line is not an equation."""
    parts = EQUATION.fullmatch(line)
    if parts is None:
        return None
    a, sign, b, result = parts.groups()
    return int(a) + int(f"{sign}{b}") == int(result)


def line_metrics(lines: Sequence[str], known: set[str]) -> dict[str, float]:
    """Return the proportions of equations, of correct equations, and of new ones among the correct equations.

    Args:
        lines: generated lines.
        known: lines of the dataset.
    """
    found = [is_correct(line) for line in lines]
    correct = [line for line, right in zip(lines, found, strict=True) if right]
    return {
        "well_formed": sum(right is not None for right in found) / len(lines),
        "correct": len(correct) / len(lines),
        "new_of_correct": sum(line not in known for line in correct) / max(1, len(correct)),
    }


class Equations(TextData):
    """Correct equations such as `12+7=19` and `3-8=-5`, drawn by a rule.

    Both operands are from 0 to `largest`, and the operation is + or -. The plugin checks generated lines. `well_formed`
    is the proportion of lines that are equations, with a correct or a wrong result. `correct` is the proportion of
    lines that are correct equations. `new_of_correct` is the proportion of the correct equations that are not in the
    data. The same seed gives the same lines on every machine.

    Source: none. Kusner 2016 uses equations from a grammar.

    When to use: for tests of networks for texts, without a download.
    When not: for conclusions about natural language.
    """

    name = "equations"
    better: ClassVar = {"well_formed": "higher", "correct": "higher", "new_of_correct": "higher"}

    class Config(Settings):
        largest: int = Field(20, ge=1, le=10**6, description="largest operand")
        count: int = Field(4000, ge=2, le=1_000_000, description="number of equations; some occur several times")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the equations; independent of the run's seed")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        lines = self.lines()
        # The longest equation, such as 10-20=-10 or 100+100=200.
        length = 3 * len(str(self.config.largest)) + 3
        return text_dataset(lines, ALPHABET, length, f"{len(lines):,} equations")

    def lines(self) -> list[str]:
        """Return the equations of the dataset."""
        return equations(self.config.count, self.config.largest, self.config.seed)

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        return line_metrics(decode(comparison.fake.images, ALPHABET), set(self.lines()))
