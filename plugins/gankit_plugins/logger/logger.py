"""Base class of the loggers, and functions that read `log.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gankit import InputError, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run

Row = dict[str, Any]
"""Row of log.jsonl: an iteration, with either losses and learning rates, or metrics, or a warning."""


def flatten(table: dict[str, Any], separator: str) -> dict[str, Any]:
    """Flatten a nested dictionary. The keys become paths, such as `loss/discriminator/real` for the separator `/`."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = flatten(value, separator) if isinstance(value, dict) else None
        flat |= {key: value} if inner is None else {f"{key}{separator}{name}": v for name, v in inner.items()}
    return flat


def scalars(row: Row) -> dict[str, float]:
    """Return the numbers in a row of log.jsonl, with paths as keys. Omit the iteration and the evaluation protocol.

    The protocol lists the facts that affect the values of metrics, such as the number of images.

    In a row of metrics, `seconds` is the duration of the evaluation. This function returns it under the key
    `evaluation/seconds`. In a row of losses, `seconds` is the time since the start of the run.
    """
    values = {key: value for key, value in row.items() if key not in ("iteration", "protocol", "settings")}
    if "metrics" in values and "seconds" in values:
        values["evaluation"] = {"seconds": values.pop("seconds")}
    return {name: v for name, v in flatten(values, "/").items() if isinstance(v, int | float)}


def kind_of(row: Row) -> str:
    """Return the kind of a row of numbers: `loss` or `metrics`. An iteration has at most one row of each kind."""
    return "loss" if "loss" in row else "metrics"


def read_rows(directory: Path) -> list[Row]:
    """Return all rows of log.jsonl in a run directory, or an empty list if the file does not exist."""
    log = directory / "log.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def all_warnings(directory: Path) -> str:
    """Return all warnings of a run as text. Each line has an iteration and its warning: `1200: D's loss is near 0`."""
    return "".join(f"{row['iteration']}: {row['warning']}\n" for row in read_rows(directory) if "warning" in row)


class Logger(Plugin):
    """Base class of plugins that log a run to a file or service, in addition to log.jsonl.

    A subclass implements `open`, `write` and `close`. A run without a directory, such as a `gankit.Session`, logs
    nothing. An error in `open` ends the run before the first iteration. After a later error, the run logs one warning
    and continues without the logger, because log.jsonl still contains all rows.
    """

    library: ClassVar[tuple[str, ...]] = ()
    """Names of the modules that the logger imports. The pip extra with the logger's name installs them."""

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.active = False

    def open(self, run: Run, directory: Path) -> None:
        """Start the log of a run, or continue the log of a resumed run."""
        raise NotImplementedError

    def write(self, row: Row) -> None:
        """Write one row of log.jsonl to the logger's file or service."""
        raise NotImplementedError

    def close(self, run: Run) -> None:
        """Close the log of a run. This method is also called if the run ends with an error."""
        raise NotImplementedError

    def catch_up(self, directory: Path) -> None:
        """Write all rows of log.jsonl to the logger's service, because the service may lack some rows.

        A subclass with an `UploadState` skips the rows that its service already has.
        """
        rows = read_rows(directory)
        for row in rows:
            if "loss" in row or "metrics" in row:
                self.write(row)
        # Write only the last warning. For each warning, loggers that use this method write all warnings of the run.
        for row in [row for row in rows if "warning" in row][-1:]:
            self.write(row)

    @hookimpl
    def check_recipe(self) -> None:
        if missing := [module for module in self.library if find_spec(module) is None]:
            raise ValueError(f"{missing[0]} is not installed; run `pip install 'gankit[{self.name}]'`")

    @hookimpl
    def on_start(self, run: Run) -> None:
        if run.directory is None:
            return
        try:
            self.open(run, run.directory)
        except Exception as error:
            raise InputError(f"{self.name} cannot start: {first_line(error)}") from error
        self.active = True

    @hookimpl
    def on_log(self, run: Run, row: Row) -> None:
        self.attempt(run, lambda: self.write(row))

    @hookimpl
    def on_stop(self, run: Run) -> None:
        self.attempt(run, lambda: self.close(run))
        self.active = False

    def attempt(self, run: Run, action: Callable[[], None]) -> None:
        """Call `action`, unless the logger has failed before. If `action` fails, log a warning and stop this logger."""
        if not self.active:
            return
        try:
            action()
        except Exception as error:
            self.active = False
            run.warn(
                f"{self.name} has failed and stops logging: {first_line(error)}. The run continues, and log.jsonl has "
                "every row; resume the run to start the logger again"
            )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of the error's class if the message is empty."""
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
