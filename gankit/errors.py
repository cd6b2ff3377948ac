"""Exceptions that are reported to the user. Each exception class defines the exit code of the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class GankitError(Exception):
    """Failure during a run, such as a full disk or a loss that became NaN."""

    exit_code = 1

    rank = 0
    """Number of the rank that reports the error, if several ranks train together."""


class NonFiniteError(GankitError):
    """Error for a loss or a parameter that is NaN or infinite. The same run would fail again if it were repeated."""


class InputError(GankitError, ValueError):
    """Error for user input that cannot be used: a recipe, a folder, a file or an option."""

    exit_code = 2


class PluginError(InputError):
    """Error for a plugin that is missing or faulty, or that cannot be used at its place in the recipe."""


@dataclass(frozen=True)
class Problem:
    """Mistake in a recipe."""

    key: str
    """Key of the setting in the recipe, such as `train.iterations`."""

    message: str
    """Description of the mistake, and how to correct it."""


class RecipeError(InputError):
    """Error that lists all mistakes in one recipe. Its message has one line for each mistake."""

    def __init__(self, source: Path | str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join(f"{source}: {p.key}: {p.message}" for p in problems))


@contextmanager
def recipe_errors(source: Path | str, key: str) -> Iterator[None]:
    """Catch a ValueError from the block, and raise a RecipeError for the key `key` of the recipe `source` instead."""
    try:
        yield
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(source, [Problem(key, str(error))]) from error
