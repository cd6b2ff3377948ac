"""A run directory, read: what was trained, how it went, what was measured, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gankit.evaluation.protocol import protocol_of
from gankit.recipe.diff import NOT_LEARNT, flattened
from gankit.recipe.toml import Raw, read_toml
from gankit.storage.run_dir import RunDir, State, read_rows

Points = list[tuple[int, float]]
"""(iteration, value), from early to late."""

Protocol = tuple[tuple[str, str], ...]
"""How a number was taken, as sorted names and values in words."""


@dataclass(frozen=True)
class Measure:
    """A number under its name, and how it was taken. Numbers of different measures cannot be compared."""

    name: str
    protocol: Protocol


@dataclass(frozen=True)
class Ending:
    """How a run ended, and where."""

    state: State
    iteration: int
    reason: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """What a run directory holds, but for what was learnt."""

    path: Path
    recipe: Raw
    processes: list[dict[str, Any]]
    """What each process that played the run noted of itself: versions, device, plugins, how it ended."""

    rows: list[dict[str, Any]]
    """Losses, learning rates and speed, as log.jsonl has them."""

    metrics: dict[Measure, Points]
    warnings: list[tuple[int, str]]
    """What plugins said while it went on, by iteration."""

    grids: dict[int, Path]
    """Pictures of samples, by iteration, from early to late."""

    ending: Ending

    @property
    def name(self) -> str:
        return str(self.recipe.get("name", self.path.name))

    @property
    def seed(self) -> int:
        return int(self.recipe.get("seed", 0))

    @property
    def environment(self) -> dict[str, Any]:
        """What it was last played on."""
        return self.processes[-1]

    @cached_property
    def code(self) -> dict[tuple[str, str], str]:
        """What each plugin that takes part in play was, by its place and its name; of a run that went on with another,
        both."""
        was: dict[tuple[str, str], dict[str, None]] = {}
        for process in self.processes:
            for place, plugin in process.get("plugins", {}).items():
                if not f"{place}.".startswith(NOT_LEARNT):
                    was.setdefault((place, plugin["use"]), {})[describe_code(plugin)] = None
        return {plugin: ", then ".join(words) for plugin, words in was.items()}

    @property
    def recipe_warnings(self) -> list[str]:
        """What plugins said of the recipe before it began."""
        return list(self.environment.get("warning", []))

    def parameters(self, player: str) -> int | None:
        """How many a network has, where it is on record."""
        count = self.environment.get("parameters", {}).get(player)
        return None if count is None else int(count)

    def peak_memory(self, of: str) -> int | None:
        """Bytes at most, of the `process` or on the `gpu`, where it is on record."""
        peaks = [p["ended"]["peak_memory"].get(of) for p in self.processes if "ended" in p]
        return max((int(peak) for peak in peaks if peak is not None), default=None)

    @cached_property
    def losses(self) -> dict[tuple[str, str], Points]:
        """The curve of each player's each term."""
        curves: dict[tuple[str, str], Points] = {}
        for row in self.rows:
            for player, terms in row["loss"].items():
                for term, value in terms.items():
                    curves.setdefault((player, term), []).append((row["iteration"], value))
        return curves

    @cached_property
    def rates(self) -> dict[str, Points]:
        """The curve of each player's learning rate."""
        players = dict.fromkeys(player for row in self.rows for player in row["learning_rate"])
        return {p: [(row["iteration"], row["learning_rate"][p]) for row in self.rows] for p in players}

    @cached_property
    def seconds(self) -> float | None:
        """That all its processes took together; of one that was killed, up to its last line in the log."""
        starts = [process.get("from", 0) for process in self.processes]
        ends = [*starts[1:], float("inf")]
        total = 0.0
        for process, start, end in zip(self.processes, starts, ends, strict=True):
            logged = [row["seconds"] for row in self.rows if start < row["iteration"] <= end]
            total += process["ended"]["seconds"] if "ended" in process else max(logged, default=0.0)
        return total or None

    @cached_property
    def images_per_second(self) -> float | None:
        """Real images shown to D a second, over the whole run."""
        images = seconds = before = 0.0
        for row in self.rows:
            # The clock begins again with every process.
            passed = row["seconds"] - before if row["seconds"] > before else row["seconds"]
            images, seconds, before = images + row["images_per_second"] * passed, seconds + passed, row["seconds"]
        return images / seconds if seconds else None


def describe_code(plugin: Mapping[str, str]) -> str:
    """`kit 1.5, source 3f2a91c0`: the distribution that a plugin came with, if any, and a digest of its file.

    Not the place of the file: moved, it is the same.
    """
    distribution = f"{plugin['distribution']} {plugin['version']}, " if plugin["distribution"] else ""
    return f"{distribution}source {plugin['sha256'][:8]}"


def read_run(path: str | Path) -> RunRecord:
    """Reads the directory of a run that is over, or that still goes on.

    What is missing or cut short, apart from the recipe, is left out.

    Raises InputError when there is no run, or its recipe cannot be read.
    """
    directory = RunDir.open(path)
    recipe = read_toml(directory.recipe_file)
    log = directory.read_log()
    taken = [row for row in [*log, *read_rows(directory.evaluations_file)] if "metrics" in row]
    processes = directory.read_processes()
    return RunRecord(
        directory.path,
        recipe,
        processes,
        [row for row in log if "loss" in row],
        _measures(taken, recipe),
        [(row["iteration"], row["warning"]) for row in log if "warning" in row],
        {int(path.stem): path for path in directory.grids()},
        _ending(directory, processes[-1], log),
    )


def _measures(taken: list[dict[str, Any]], recipe: Raw) -> dict[Measure, Points]:
    """The curve of each measure. Of what was measured twice at an iteration, in the same way, the later counts."""
    curves: dict[Measure, dict[int, float]] = {}
    for row in taken:
        for name, value in row["metrics"].items():
            protocol = as_protocol(protocol_of(row, name)) if row.get("protocol") else unsaid_protocol(recipe)
            curves.setdefault(Measure(name, protocol), {})[row["iteration"]] = value
    return {measure: sorted(curve.items()) for measure, curve in curves.items()}


def as_protocol(values: Mapping[str, Any]) -> Protocol:
    return tuple(sorted((name, str(value)) for name, value in values.items()))


def unsaid_protocol(recipe: Raw) -> Protocol:
    """Of a number that comes without one: a plugin took it on the run's own data."""
    return as_protocol(flattened({"data": recipe.get("data", {})}))


def _ending(directory: RunDir, last: dict[str, Any], log: list[dict[str, Any]]) -> Ending:
    if "ended" in last:
        ended = last["ended"]
        return Ending(ended["state"], ended["iteration"], ended["reason"])
    return Ending(
        "running" if directory.is_locked() else "cut short", max((row["iteration"] for row in log), default=0)
    )
