"""Logger that writes the numbers of a run to a CSV table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from gankit import Settings
from gankit_plugins.logger.logger import Logger, Row, read_rows, scalars

if TYPE_CHECKING:
    from gankit import Run


def table(rows: list[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """Convert rows of log.jsonl to a table. Return its column names, and one table row for each logged iteration.

    Columns are in the order of their first occurrence. Rows without numbers, such as warnings, are left out.
    """
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        if numbers := scalars(row):
            merged.setdefault(row["iteration"], {"iteration": row["iteration"]}).update(numbers)
    columns = {name: None for row in merged.values() for name in row}
    return list(columns) or ["iteration"], list(merged.values())


class Csv(Logger):
    """Logger that writes `log.csv`, with a row for each logged iteration and a column for each number.

    A column's name is the path of its number in log.jsonl, for example `loss/discriminator/adversarial` or
    `metrics/fid`. Losses are appended as a new row. The whole table is written again when a run starts or resumes, when
    metrics are logged, and when a new column is needed. The table contains all numbers of log.jsonl, but not the
    warnings.

    Source: RFC 4180 (2005).

    When to use: to open a run in a spreadsheet, or with `pandas.read_csv`.
    When not: if your programs can read log.jsonl, which has the same numbers.
    """

    name = "csv"
    kind = "logger"

    class Config(Settings):
        file: str = Field("log.csv", description="path of the table, relative to the run directory")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        self.directory = directory
        self.path = directory / self.config.file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rewrite()

    def _rewrite(self) -> None:
        self.columns, rows = table(read_rows(self.directory))
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def write(self, row: Row) -> None:
        numbers = scalars(row)
        # Metrics belong in the same row as the losses of their iteration. That row is already in the file, so write the
        # whole file again.
        if "metrics" in row or not numbers.keys() <= set(self.columns):
            self._rewrite()
        elif numbers:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                values = {"iteration": row["iteration"]} | numbers
                csv.DictWriter(file, self.columns, lineterminator="\n").writerow(values)

    def close(self, run: Run) -> None:
        """Do nothing, because the file is opened and closed for each row."""
