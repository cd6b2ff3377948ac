"""The errors a user can meet, each carrying the exit code the command line answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class GankitError(Exception):
    """Something failed while the game was running: a full disk, a loss that became NaN."""

    exit_code = 1

    rank = 0
    """Of several ranks, the one that tells the user."""


class BreakdownError(GankitError):
    """The game itself failed: a loss or a weight is no longer finite. Played again, it fails again."""


class InputError(GankitError, ValueError):
    """What the user gave cannot be used: a recipe, a folder, a file, a flag."""

    exit_code = 2


class PluginError(InputError):
    """A plugin cannot be found, imported or fitted where the recipe puts it."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe: where it stands (`train.iterations`) and what to do about it."""

    key: str
    message: str


class RecipeError(InputError):
    """All that is wrong with one recipe, a line for each problem."""

    def __init__(self, source: Path | str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join(f"{source}: {p.key}: {p.message}" for p in problems))
