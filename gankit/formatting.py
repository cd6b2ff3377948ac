"""Functions that format numbers, durations and names as text, or return the first line of a docstring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun in the singular or plural: `1 image` or `2,000 images`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a duration as text, in its two largest units: `42 s`, `4 min 12 s`, `2 h 5 min` or `3 d 4 h`."""
    whole = round(seconds)
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below} {small}"
    return f"{whole} s"


def number(value: float) -> str:
    """Return a number as text with three decimals, or in scientific notation if the number is very small or large.

    Examples: `0.693`, `1.20e-05`, `3.00e+07`.
    """
    return f"{value:.3f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.2e}"


def brief(value: float) -> str:
    """Return a number as text with at most four significant digits: `8`, `0.9216`, `12.03`, `1.234e-05`."""
    return f"{value:.4g}"


def describe_best(best: Mapping[str, Any]) -> str:
    """Return the best value of a metric as text, such as `frechet_distance 12.3 at iteration 400`."""
    return f"{best['metric']} {brief(best['value'])} at iteration {best['iteration']}"


def megabytes(count: float) -> str:
    """Return a number of bytes as text in megabytes: `12 MB`, `3,400 MB`."""
    return f"{count / 1e6:,.0f} MB"


def first_names(names: Sequence[str], most: int) -> str:
    """Return at most `most` names as text, and the number of the others: `a, b and 3 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def first_line(documented: type) -> str:
    """Return the first line of the docstring of a class."""
    return (documented.__doc__ or "").strip().partition("\n")[0]
