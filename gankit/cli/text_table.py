"""Tables of text on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. The first column is aligned to the left, and the others to the right."""
    table = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *others in table:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        click.echo("  ".join(cells))


def milliseconds(seconds: float) -> str:
    """Return a time as text in milliseconds, such as `0.815 ms` or `12.3 ms`."""
    return f"{1000 * seconds:.{3 if seconds < 0.01 else 1}f} ms"
