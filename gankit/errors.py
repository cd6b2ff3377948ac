"""Exceptions that gankit reports to the user. Each exception class defines the exit code of the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class GankitError(Exception):
    """Base class of gankit's exceptions. The class itself is raised if a run fails, for example if the disk is full."""

    exit_code = 1

    rank = 0
    """Rank (number of the process) that reports the error to the user, in a run with several ranks."""


class NonFiniteError(GankitError):
    """Error for a loss or a parameter that is NaN or infinite. A repeated run would end with the same error."""


class InputError(GankitError, ValueError):
    """Error for invalid user input: a recipe, a folder, a file or an option."""

    exit_code = 2


class PluginError(InputError):
    """Error for a plugin that is missing, faulty, or of the wrong kind for its key in the recipe."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe: the key and the message."""

    key: str
    """Key of the setting in the recipe, such as `train.iterations`."""

    message: str
    """Description of the mistake, with instructions to correct it."""


class RecipeError(InputError):
    """Error for a recipe with mistakes. Its message has one line for each mistake."""

    def __init__(self, source: Path | str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join(f"{source}: {p.key}: {p.message}" for p in problems))


@contextmanager
def recipe_errors(source: Path | str, key: str) -> Iterator[None]:
    """Convert a ValueError in the `with` block to a RecipeError for the key `key` of the recipe `source`."""
    try:
        yield
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(source, [Problem(key, str(error))]) from error
