"""Table files: reading and writing of CSV and Parquet files. All cells are texts; a missing cell is an empty text."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from gankit import InputError

Cells = dict[str, list[str]]
"""Columns of a table by name. Each column is a list with the text of each row's cell."""

SUFFIXES = (".csv", ".parquet")
DELIMITERS = ",;\t"

MOST_DECIMALS = 100
"""Largest number of decimals of numbers that are rounded to their decimals."""


def read_table(path: Path) -> Cells:
    """Return the columns of a CSV or Parquet file. The first line of a CSV file contains the names of the columns.

    Raises:
        InputError: the file does not exist, is not such a file, or has no rows.
    """
    if not path.is_file():
        raise InputError(f"path: there is no file {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"path: {path} is no table; give a file that ends in {' or '.join(SUFFIXES)}")
    cells = read_csv(path) if path.suffix.lower() == ".csv" else read_parquet(path)
    if not cells or not next(iter(cells.values())):
        raise InputError(f"path: {path} has no rows; the first line names the columns, and each further line is a row")
    return cells


def read_csv(path: Path) -> Cells:
    """Return the columns of a CSV file in UTF-8.

    The delimiter is the one that is most common in the first line outside quotation marks.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = re.sub('"[^"]*"', "", file.readline())
            file.seek(0)
            lines = csv.reader(file, delimiter=max(DELIMITERS, key=first.count), skipinitialspace=True)
            header = next(lines, [])
            rows = []
            for row in lines:
                if len(row) == len(header):
                    rows.append(row)
                elif row:
                    raise InputError(
                        f"path: {path}, line {lines.line_num}: {len(row)} cells, and the first line has {len(header)}; "
                        "correct the line, or put quotation marks around cells that contain the delimiter"
                    )
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"path: {path} is no CSV file in UTF-8 ({error}); save it as one") from error
    repeated = next((name for name in header if not name or header.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"path: {path}: the column name {repeated!r} is empty or occurs twice; rename the column")
    return dict(zip(header, (list(column) for column in zip(*rows, strict=True)), strict=bool(rows)))


def read_parquet(path: Path) -> Cells:
    """Return the columns of a Parquet file as texts."""
    pyarrow = parquet_library()
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"path: {path} cannot be read as a Parquet file ({error})") from error
    return {
        name: ["" if cell is None else str(cell) for cell in table.column(name).to_pylist()]
        for name in table.column_names
    }


def parquet_library() -> Any:
    """Return the package pyarrow with its module for Parquet files.

    Raises:
        InputError: the package is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet files need the package pyarrow; pip install 'gankit[table]', or use CSV") from None
    library: ModuleType = pyarrow
    return library


def write_csv(path: Path, cells: Cells) -> None:
    """Write columns to a CSV file in UTF-8, with the names of the columns in the first line."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(cells)
        lines.writerows(zip(*cells.values(), strict=True))


def write_parquet(path: Path, columns: dict[str, Sequence[Any]]) -> None:
    """Write columns of values to a Parquet file. The value None is a missing cell."""
    pyarrow = parquet_library()
    pyarrow.parquet.write_table(pyarrow.table({name: list(values) for name, values in columns.items()}), path)


def decimals_of(texts: Sequence[str]) -> int | None:
    """Return the largest number of decimals in texts of numbers.

    Return None if a number has an exponent, or more than `MOST_DECIMALS` decimals.
    """
    if any(re.search("[eE]", text) for text in texts):
        return None
    most = max((len(text.partition(".")[2].rstrip()) for text in texts), default=0)
    return most if most <= MOST_DECIMALS else None
