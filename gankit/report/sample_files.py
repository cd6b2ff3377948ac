"""Files of samples for an HTML page: players for sounds, animated images, texts and tables."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gankit.report.table import Table

MAX_BYTES = 6_000_000
"""Maximum total size of the files of samples on a page, in bytes."""

MAX_TEXT = 2_000
"""Maximum number of characters of a text on a page."""

MAX_ROWS = 20
"""Maximum number of rows of a table on a page."""

TYPES = {".wav": "audio/wav", ".gif": "image/gif", ".png": "image/png", ".txt": "text/plain", ".csv": "text/csv"}
"""Media type of each suffix that a page shows."""


@dataclass(frozen=True)
class SampleFile:
    """File of one sample, or table of the samples of several files. One of `uri`, `text` and `table` is not empty."""

    name: str
    type: str
    """Media type, a value of `TYPES`."""

    uri: str = ""
    """Data URI of a sound or an image."""

    text: str = ""
    table: Table | None = None


@dataclass(frozen=True)
class PageFiles:
    """Files of samples for a page."""

    files: list[dict[int, list[SampleFile]]]
    """Files of each run, by the iteration of their sample grid."""

    only_newest: bool
    """True if the files of older sample grids are left out, because all files are larger than `MAX_BYTES`."""

    num_too_large: int
    """Number of files of the newest sample grids that are left out, because they are larger than the limit."""


def page_files(folders: Sequence[Mapping[int, Path]]) -> PageFiles:
    """Read the files of samples for a page of one or several runs.

    If all files together are larger than `MAX_BYTES`, only those of each run's newest sample grid are used. Each run
    then has an equal share of `MAX_BYTES`. Files beyond this share are left out.

    Args:
        folders: for each run, the folder with the files of samples of each sample grid, by its iteration.
    """
    paths = [{iteration: shown_files(folder) for iteration, folder in own.items()} for own in folders]
    if sum(map(_size, (path for own in paths for files in own.values() for path in files))) <= MAX_BYTES:
        return PageFiles([{i: list(_read(files)) for i, files in own.items()} for own in paths], False, 0)
    newest = [{max(own): own[max(own)]} if own else {} for own in paths]
    fitting = [{i: _within(files, MAX_BYTES // len(folders)) for i, files in own.items()} for own in newest]
    num_files = [sum(len(files) for own in runs for files in own.values()) for runs in (newest, fitting)]
    shown = [{i: list(_read(files)) for i, files in own.items()} for own in fitting]
    return PageFiles(shown, any(len(own) > 1 for own in paths), num_files[0] - num_files[1])


def shown_files(folder: Path) -> list[Path]:
    """Return the files in a folder whose suffix a page shows, sorted by name. The folder may not exist."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in TYPES)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _within(paths: Sequence[Path], limit: int) -> list[Path]:
    """Return the first files that together have at most `limit` bytes."""
    kept, total = [], 0
    for path in paths:
        total += _size(path)
        if total <= limit:
            kept.append(path)
    return kept


def _read(paths: Sequence[Path]) -> Iterator[SampleFile]:
    """Read files of samples. Tables with the same headings become one table. Files that cannot be read are left out."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for path in paths:
        try:
            data, type = path.read_bytes(), TYPES[path.suffix.lower()]
        except OSError:
            continue
        if type == "text/csv":
            first, *rows = list(csv.reader(io.StringIO(_text(data), newline=""))) or [[]]
            tables.setdefault(tuple(first), []).extend(rows)
        elif type == "text/plain":
            text = _text(data)
            yield SampleFile(path.stem, type, text=text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ...")
        else:
            yield SampleFile(path.stem, type, uri=f"data:{type};base64,{base64.b64encode(data).decode()}")
    for headings, rows in tables.items():
        if headings:
            # Jinja raises an error for a row without cells. An empty line of a CSV file is such a row.
            shown = [row for row in rows if row][:MAX_ROWS]
            yield SampleFile(f"{len(shown)} of {len(rows)} rows", "text/csv", table=Table(list(headings), shown))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
