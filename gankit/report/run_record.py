"""Functions that read a run directory: recipe, log, metrics, sample grids and final state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gankit.evaluation.protocol import protocol_of
from gankit.recipe.diff import WITHOUT_EFFECT
from gankit.recipe.toml import Raw, read_toml
from gankit.storage.run_dir import RunDir, State, read_rows

Points = list[tuple[int, float]]  # (iteration, value) pairs, oldest first

Protocol = tuple[tuple[str, str], ...]  # settings that affect the value of a metric, as sorted (name, value) pairs


@dataclass(frozen=True)
class Metric:
    """Metric and its protocol: the facts that affect the metric's value.

    Two values of a metric can be compared only if their protocols are equal.
    """

    name: str
    protocol: Protocol


@dataclass(frozen=True)
class Ending:
    """State of a run, its last known iteration, and the recorded reason why the run ended."""

    state: State
    iteration: int
    reason: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """Contents of a run directory, except the checkpoints and the generator file."""

    path: Path
    recipe: Raw
    processes: list[dict[str, Any]]  # record of each process that trained the run: versions, device, plugins, ...

    rows: list[dict[str, Any]]  # rows of log.jsonl with losses, learning rates and speed
    metrics: dict[Metric, Points]
    warnings: list[tuple[int, str]]  # (iteration, warning) pairs for the warnings that plugins logged during training

    grids: dict[int, Path]  # path of each sample grid, by iteration, oldest first
    ending: Ending
    best: dict[str, Any] | None = None  # metric, value and iteration of the generator in best.safetensors

    rollbacks: Sequence[str] = ()  # one sentence about each rollback to an earlier checkpoint, oldest first

    sample_files: Mapping[int, Path] = field(default_factory=dict)
    """Folder with files of samples of each sample grid, by iteration. Empty for images, which have no such files."""

    @property
    def name(self) -> str:
        """Name of the run, from its recipe."""
        return str(self.recipe.get("name", self.path.name))

    @property
    def seed(self) -> int:
        """Seed of the run, from its recipe."""
        return int(self.recipe.get("seed", 0))

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device, plugins and other facts that the last process of the run recorded."""
        return self.processes[-1]

    @cached_property
    def code(self) -> dict[tuple[str, str], str]:
        """Version and source hash of each plugin that affects the training. The keys are (recipe key, plugin name).

        If the code of a plugin changed when the run was resumed, the value lists all versions.
        """
        sources: dict[tuple[str, str], dict[str, None]] = {}
        for process in self.processes:
            for place, plugin in process.get("plugins", {}).items():
                if not f"{place}.".startswith(WITHOUT_EFFECT):
                    sources.setdefault((place, plugin["use"]), {})[describe_code(plugin)] = None
        return {plugin: ", then ".join(texts) for plugin, texts in sources.items()}

    @property
    def recipe_warnings(self) -> list[str]:
        """Warnings about the recipe that the last process of the run recorded."""
        return list(self.environment.get("warnings", []))

    def parameters(self, player: str) -> int | None:
        """Return the number of parameters of a player's network, or None if the number is not recorded."""
        count = self.environment.get("parameters", {}).get(player)
        return None if count is None else int(count)

    def peak_memory(self, of: str) -> int | None:
        """Return the largest peak memory of the run's processes, in bytes, or None if no peak memory is recorded.

        `of` is `process` for the RAM of the process, or `gpu` for the memory of tensors on the GPU.
        """
        peaks = [p["ended"]["peak_memory"].get(of) for p in self.processes if "ended" in p]
        return max((int(peak) for peak in peaks if peak is not None), default=None)

    @cached_property
    def losses(self) -> dict[tuple[str, str], Points]:
        """Curve of each loss term, as (iteration, value) pairs. The keys are (player, name of the loss term)."""
        curves: dict[tuple[str, str], Points] = {}
        for row in self.rows:
            for player, terms in row["loss"].items():
                for term, value in terms.items():
                    curves.setdefault((player, term), []).append((row["iteration"], value))
        return curves

    @cached_property
    def plugin_values(self) -> dict[str, Points]:
        """Curve of each number that a plugin logged, as (iteration, value) pairs, by name."""
        return self._curves("values")

    @cached_property
    def learning_rates(self) -> dict[str, Points]:
        """Curve of the learning rate, as (iteration, learning rate) pairs, for the generator and the discriminator."""
        return self._curves("learning_rate")

    @cached_property
    def gradient_norms(self) -> dict[str, Points]:
        """Curve of the gradient norm before clipping, as (iteration, norm) pairs, for both players.

        The logs of older versions of gankit do not contain the norms.
        """
        return self._curves("gradient_norm")

    def _curves(self, key: str) -> dict[str, Points]:
        """Return the curve of each number in the table `key` of the log rows, by the name of the number."""
        curves: dict[str, Points] = {}
        for row in self.rows:
            for name, value in row.get(key, {}).items():
                curves.setdefault(name, []).append((row["iteration"], value))
        return curves

    @cached_property
    def seconds(self) -> float | None:
        """Total training time of the run's processes, in seconds.

        For a killed process, only the time until its last log row is known.
        """
        starts = [process.get("from", 0) for process in self.processes]
        ends = [*starts[1:], float("inf")]
        total = 0.0
        for process, start, end in zip(self.processes, starts, ends, strict=True):
            logged = [row["seconds"] for row in self.rows if start < row["iteration"] <= end]
            total += process["ended"]["seconds"] if "ended" in process else max(logged, default=0.0)
        return total or None

    @cached_property
    def images_per_second(self) -> float | None:
        """Training speed in real images per second (images on which D is trained), averaged over the whole run."""
        images = seconds = before = 0.0
        for row in self.rows:
            # When a run is resumed, the field `seconds` of the log restarts at 0.
            passed = row["seconds"] - before if row["seconds"] > before else row["seconds"]
            images, seconds, before = images + row["images_per_second"] * passed, seconds + passed, row["seconds"]
        return images / seconds if seconds else None


def describe_code(plugin: Mapping[str, str]) -> str:
    """Return a plugin's distribution, version and source hash as text: `kit 1.5, source 3f2a91c0`.

    The path of the source file is left out, because two files with different paths can contain the same code.
    """
    distribution = f"{plugin['distribution']} {plugin['version']}, " if plugin["distribution"] else ""
    return f"{distribution}source {plugin['sha256'][:8]}"


def read_run(path: str | Path) -> RunRecord:
    """Read a run directory. All files except the recipe may be missing or truncated.

    Raises:
        InputError: there is no run at this path, or its recipe cannot be read.
    """
    directory = RunDir.open(path)
    log, processes = directory.read_log(), directory.read_processes()
    return RunRecord(
        directory.path,
        read_toml(directory.recipe_file),
        processes,
        [row for row in log if "loss" in row],
        _metric_curves([*log, *read_rows(directory.evaluations_file)]),
        [(row["iteration"], row["warning"]) for row in log if "warning" in row and "rollback" not in row],
        {int(path.stem): path for path in directory.grids()},
        _ending(directory, processes[-1], log),
        next((row["best"] for row in reversed(log) if "best" in row), None),
        [row["warning"] for row in log if "rollback" in row],
        {int(path.stem): folder for path in directory.grids() if (folder := path.with_suffix("")).is_dir()},
    )


def _metric_curves(rows: list[dict[str, Any]]) -> dict[Metric, Points]:
    """Return the (iteration, value) pairs of each metric. If an iteration has several values, use the last one."""
    curves: dict[Metric, dict[int, float]] = {}
    for row in rows:
        for name, value in row.get("metrics", {}).items():
            metric = Metric(name, as_protocol(protocol_of(row, name)))
            curves.setdefault(metric, {})[row["iteration"]] = value
    return {metric: sorted(curve.items()) for metric, curve in curves.items()}


def as_protocol(values: Mapping[str, Any]) -> Protocol:
    """Convert a metric's protocol to sorted pairs of strings, which can be compared and used as dictionary keys."""
    return tuple(sorted((name, str(value)) for name, value in values.items()))


def _ending(directory: RunDir, last: dict[str, Any], log: list[dict[str, Any]]) -> Ending:
    """Return how the last process of the run ended, as recorded in `environment.json`.

    If the end is not recorded, return the newest iteration in the log and one of two states. The state is `running` if
    a process holds the lock of the directory. Otherwise the process was killed, and the state is `cut short`.
    """
    if "ended" in last:
        return Ending(last["ended"]["state"], last["ended"]["iteration"], last["ended"]["reason"])
    state: State = "running" if directory.is_locked() else "cut short"
    return Ending(state, max((row["iteration"] for row in log), default=0))
