"""The numbers of a run as one table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import Field

from gankit import Settings
from gankit_plugins.logger.logger import Logger, Row, rows_of, scalars

if TYPE_CHECKING:
    from gankit import Run


def table(rows: list[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns, in the order in which they first occur, and one row for each iteration that has numbers."""
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        if numbers := scalars(row):
            merged.setdefault(row["iteration"], {"iteration": row["iteration"]}).update(numbers)
    columns = {name: None for row in merged.values() for name in row}
    return list(columns) or ["iteration"], list(merged.values())


class Csv(Logger):
    """Writes all numbers of a run to `log.csv`: a row for each iteration that is logged, a column for each number.

    Source: RFC 4180 (2005). Columns are named by their paths, `loss/discriminator/adversarial`, `measures/fid`. The
    table is made from log.jsonl when a run begins, resumes or brings a number that has no column yet, so it says what
    log.jsonl says, without the advice.

    When to use: to open a run in a spreadsheet, or with `pandas.read_csv`.
    When not: where log.jsonl is as good.
    """

    name = "csv"
    kind = "logger"

    class Config(Settings):
        file: str = Field("log.csv", description="where, relative to the run directory")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        self.directory = directory
        self.path = directory / self.config.file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write_anew()

    def _write_anew(self) -> None:
        self.columns, rows = table(rows_of(self.directory))
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            self._writer(file).writeheader()
            self.newest: dict[str, Any] = {}
            self.end = file.tell()
            for row in rows:
                self._add(file, row)

    def write(self, row: Row) -> None:
        numbers = scalars(row)
        if not numbers:
            return
        if not numbers.keys() <= set(self.columns):
            self._write_anew()
            return
        with open(self.path, "r+", newline="", encoding="utf-8") as file:
            if row["iteration"] == self.newest.get("iteration"):
                # Measures come after the losses of the same iteration, and belong beside them.
                file.seek(self.end)
                file.truncate()
                numbers = self.newest | numbers
            else:
                file.seek(0, 2)
            self._add(file, {"iteration": row["iteration"]} | numbers)

    def _add(self, file: IO[str], row: dict[str, Any]) -> None:
        self.newest, self.end = row, file.tell()
        self._writer(file).writerow(row)

    def _writer(self, file: IO[str]) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.columns, lineterminator="\n")

    def close(self, run: Run) -> None:
        """Nothing is open between two rows."""
