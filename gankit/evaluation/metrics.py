"""Generated images and real ones, as measures get to see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gankit.errors import GankitError, InputError
from gankit.plugin.comparison import Comparison

Measure = Callable[[Comparison], Mapping[str, float] | None]


class Measured(NamedTuple):
    """What measures said, each known by its place in the recipe."""

    numbers: dict[str, float]
    said_by: dict[str, str]
    """The measure that a number came from: `{"precision": "measures.precision_recall"}`."""

    silent: list[str]
    """Those that a comparison says nothing to: classes, without any."""

    failed: dict[str, GankitError]
    """Those that could not be taken, and why."""

    def or_refused(self) -> Measured:
        """The same; raises InputError, a line for each, when a measure could not be taken."""
        if self.failed:
            raise InputError("\n".join(f"{key}: {error}" for key, error in self.failed.items()))
        return self


def measured(measures: Mapping[str, Measure], comparison: Comparison) -> Measured:
    """Takes all measures, by their places. Where one cannot be taken, the others still are."""
    found = Measured({}, {}, [], {})
    for key, measure in measures.items():
        try:
            said = measure(comparison)
        except GankitError as error:
            found.failed[key] = error
            continue
        if not said:
            found.silent.append(key)
            continue
        for name, value in said.items():
            # The same measure may stand in a recipe twice; its second number is told by its place.
            own = f"{key}.{name}" if name in found.numbers else name
            found.numbers[own], found.said_by[own] = value, key
    return found
