"""What all loggers share: when they begin and end, what becomes of one that fails, and how a log is read."""

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
"""A row of log.jsonl: the iteration, and beside it a `loss` with rates, `measures`, or `advice`."""


def flat(table: dict[str, Any], joined: str) -> dict[str, Any]:
    """Nested dictionaries as one, each value by the path that leads to it: `loss/discriminator/real` of `/`."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        inner = flat(value, joined) if isinstance(value, dict) else None
        found |= {key: value} if inner is None else {f"{key}{joined}{name}": v for name, v in inner.items()}
    return found


def scalars(row: Row) -> dict[str, float]:
    """The numbers of a row by their paths, without the iteration and how measures were taken.

    What an evaluation took is `measuring/seconds`; `seconds` alone is the time since the beginning.
    """
    told = {key: value for key, value in row.items() if key not in ("iteration", "protocol", "settings")}
    if "metrics" in told and "seconds" in told:
        told["measuring"] = {"seconds": told.pop("seconds")}
    return {name: v for name, v in flat(told, "/").items() if isinstance(v, int | float)}


def stream_of(row: Row) -> str:
    """Of each stream an iteration has one row at most: losses, plugins' own measures, the recipe's."""
    return "loss" if "loss" in row else "measures by protocol" if "protocol" in row else "metrics"


def rows_of(directory: Path) -> list[Row]:
    """All rows of a run's log.jsonl; a resumed run has taken back those from after its checkpoint."""
    log = directory / "log.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def advice_of(directory: Path) -> str:
    """All that was advised in a run, a line each, led by the iteration."""
    return "".join(f"{row['iteration']}: {row['advice']}\n" for row in rows_of(directory) if "warning" in row)


class Logger(Plugin):
    """A plugin that passes on what a run writes down.

    A subclass has `open`, `write` and `close`. Where there is no run directory, as in a `Session`, it does nothing.
    What keeps it from beginning is an error before the first iteration. What fails later is said once, and the run
    goes on without it: hours of training are worth more than a copy of log.jsonl.
    """

    library: ClassVar[tuple[str, ...]] = ()
    """The modules that it writes with, which come with the extra of its name."""

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.working = False

    def open(self, run: Run, directory: Path) -> None:
        raise NotImplementedError

    def write(self, row: Row) -> None:
        raise NotImplementedError

    def close(self, run: Run) -> None:
        raise NotImplementedError

    def catch_up(self, directory: Path) -> None:
        """Writes what was logged while this logger could not take it, if it keeps count of that."""
        rows = rows_of(directory)
        for row in rows:
            if "warning" not in row:
                self.write(row)
        # Advice is written whole, so the last piece brings all others.
        for row in [row for row in rows if "warning" in row][-1:]:
            self.write(row)

    @hookimpl
    def check_recipe(self) -> None:
        if missing := [module for module in self.library if find_spec(module) is None]:
            raise ValueError(f"{missing[0]} is not installed; `pip install 'gankit[{self.name}]'` gets it")

    @hookimpl
    def on_start(self, run: Run) -> None:
        if run.directory is None:
            return
        try:
            self.open(run, run.directory)
        except Exception as error:
            raise InputError(f"{self.name} cannot begin: {in_words(error)}") from error
        self.working = True

    @hookimpl
    def on_log(self, run: Run, row: Row) -> None:
        self.attempt(run, lambda: self.write(row))

    @hookimpl
    def on_stop(self, run: Run) -> None:
        self.attempt(run, lambda: self.close(run))
        self.working = False

    def attempt(self, run: Run, act: Callable[[], None]) -> None:
        """Does it; the first time that fails is the last one."""
        if not self.working:
            return
        try:
            act()
        except Exception as error:
            self.working = False
            run.warn(
                f"{self.name} has failed and logs no more: {in_words(error)}. The run goes on, and log.jsonl has "
                "every row; to resume the run starts the logger anew"
            )


def in_words(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
