"""Tables of an HTML page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Table of the page, with the row names in the first column.

    If `summary` is not empty, the table can be collapsed to the text `summary`. `open` is true if the table is
    initially expanded.
    """

    headings: list[str]
    rows: list[list[str]]
    summary: str = ""
    open: bool = False
