"""Errors that users can meet, each with the exit code of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class GankitError(Exception):
    """Failure during a run, such as a full disk or a loss that became NaN."""

    exit_code = 1

    rank = 0
    """Rank that reports the error when several ranks train together."""


class NonFiniteError(GankitError):
    """A loss or a parameter is NaN or infinite. The same run would fail again."""


class InputError(GankitError, ValueError):
    """User input that cannot be used: a recipe, a folder, a file or an option."""

    exit_code = 2


class PluginError(InputError):
    """A plugin that cannot be found or imported, or that does not fit its place in the recipe."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe."""

    key: str
    """Key of the recipe, such as `train.iterations`."""

    message: str
    """Description of the mistake, and what to do."""


class RecipeError(InputError):
    """All mistakes of one recipe, one line for each."""

    def __init__(self, source: Path | str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join(f"{source}: {p.key}: {p.message}" for p in problems))


@contextmanager
def recipe_errors(source: Path | str, key: str) -> Iterator[None]:
    """Turn a ValueError that is raised in the block into a RecipeError at `key` of the recipe `source`."""
    try:
        yield
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(source, [Problem(key, str(error))]) from error
