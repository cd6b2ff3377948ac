"""Python API for scripts and notebooks. Recipes and results are the same as with the command-line interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from gankit.errors import InputError
from gankit.evaluation.evaluator import Evaluator
from gankit.plugin.condition import Requested, Wanted, requested_by
from gankit.plugin.dataset import Rows
from gankit.plugin.slots import Player
from gankit.recipe.bundled import find_recipe
from gankit.recipe.recipe import Recipe
from gankit.report.page import write_report_of
from gankit.runtime.device import choose_device
from gankit.runtime.ranks import ALONE
from gankit.runtime.rng import RandomState
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import draw_grid, grid_layout
from gankit.sampling.sampler import Sampler
from gankit.storage.run_dir import RunDir
from gankit.training import launch
from gankit.training.assembly import assemble, assemble_unchecked, new_run
from gankit.training.cost import Cost, measure_cost
from gankit.training.initialisation import initialise
from gankit.training.loop import check_finite
from gankit.training.memory_check import StepMemory, measure_memory
from gankit.training.reporter import Outcome, Reporter
from gankit.training.update import train_iteration


@dataclass(frozen=True)
class Trained:
    """Return value of `train` and `resume`: the result of a run that has ended."""

    path: Path
    """Run directory, with the same files that the command `gankit run` writes."""

    iterations: int
    seconds: float
    """Training time of this process, in seconds. The time of earlier processes of a resumed run is not included."""

    stop_reason: str | None
    """Reason why a plugin or `output.patience` stopped the run early. None if the run completed all iterations."""

    warnings: list[str]
    """Warnings about the recipe and the run."""

    metrics: dict[str, float]
    """Metrics of the last evaluation in this process, by name. The dict is empty if there was no evaluation."""

    @property
    def generator_file(self) -> Path:
        """Path to the file with the trained generator and all other data that sampling needs."""
        return RunDir(self.path).generator_file

    @property
    def best_file(self) -> Path:
        """Path to the file of the best generator, as measured by the metric `output.keep_best`.

        The file exists only if `output.keep_best` is set and the metric was finite at least once.
        """
        return RunDir(self.path).best_file


def train(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    drop: Iterable[str] = (),
    report: bool = True,
) -> Trained:
    """Train a GAN from a recipe, and write the same files as the command `gankit run`.

    After Ctrl-C, this function finishes the current iteration, writes a checkpoint and raises KeyboardInterrupt. Call
    `resume` to continue the run.

    Args:
        recipe: a `Recipe`, the path to a recipe file, or the name of a bundled recipe.
        out: run directory. If None, the run directory is `NAME/TIME` in the recipe's `output.directory`. NAME is the
            name of the recipe, and TIME is the start time.
        overrides: settings to override, as `key=value`. Not allowed if `recipe` is a `Recipe`.
        drop: keys to remove from the recipe, as with `--drop`. Not allowed if `recipe` is a `Recipe`.
        report: False to write no report.html at the end, for many short runs.

    Raises:
        InputError: the recipe, the data or `out` cannot be used.
        GankitError: the training failed.
    """
    collector = _Collector(report)
    return collector.result(*launch.start(loaded(recipe, overrides, drop), out, collector))


def resume(
    run: str | Path,
    overrides: Iterable[str] = (),
    restart: bool = False,
    allow_changed_data: bool = False,
    report: bool = True,
) -> Trained:
    """Continue a run from its newest checkpoint, like the command `gankit resume`.

    Args:
        run: run directory.
        overrides: settings to override, as `key=value`. Only `train.iterations`, `train.device`, the settings of
            `output` and paths to moved files may change.
        restart: True to move the results to the folder `before-N` in the run directory, and to start again from the
            beginning.
        allow_changed_data: True to accept images or labels that have changed since the checkpoint was written.
        report: False to write no report.html at the end, for a run that is resumed many times.

    Raises:
        InputError: the directory contains no run, or the run cannot be resumed.
        GankitError: the training failed.
    """
    collector = _Collector(report)
    return collector.result(*launch.resume(run, overrides, collector, restart, allow_changed_data))


def loaded(recipe: Recipe | str | Path, overrides: Iterable[str] = (), drop: Iterable[str] = ()) -> Recipe:
    """Load a recipe from a file, or load a bundled recipe by its name. A `Recipe` object is returned unchanged.

    Raises:
        InputError: the recipe does not exist, or `overrides` or `drop` is given with a `Recipe`.
    """
    if not isinstance(recipe, Recipe):
        return Recipe.load(find_recipe(str(recipe)), overrides, drop)
    if [*overrides, *drop]:
        raise InputError("overrides need a recipe's file or name; pass them to Recipe.load for a Recipe")
    return recipe


def iteration_cost(recipe: Recipe, seconds: float = 0.0) -> Cost:
    """Measure the time and the memory of a training iteration of a recipe on this machine, with random images.

    The images of the recipe are not read.

    Args:
        recipe: recipe.
        seconds: time for which iterations are timed. At least one iteration is timed.

    Raises:
        InputError: the recipe cannot be used.
    """
    launch.prepare_torch(recipe)
    return measure_cost(assemble_unchecked(recipe, choose_device(recipe.train.device)), seconds)


def step_memory(recipe: Recipe) -> StepMemory | None:
    """Measure the memory of a training step of a recipe with two small batches, and predict that of larger batches.

    Return None if the memory cannot be measured.

    Raises:
        InputError: the recipe cannot be used.
    """
    launch.prepare_torch(recipe)
    run = new_run(recipe, choose_device(recipe.train.device), ALONE)
    return measure_memory(run, assemble_unchecked)


class Session:
    """Training run without a run directory, for scripts and notebooks. Call `save` to write the generator to a file.

    Each session has its own random state, so several sessions can be trained alternately. Use a session as a context
    manager, so that the files of its plugins are closed at the end of the `with` block:

        with Session("igan_vn") as session:
            session.train(100)

    Args:
        recipe: a `Recipe`, the path to a recipe file, or the name of a bundled recipe.
        overrides: settings to override, as `key=value`. Not allowed if `recipe` is a `Recipe`.
        drop: keys to remove from the recipe, as with `--drop`. Not allowed if `recipe` is a `Recipe`.

    Raises:
        InputError: the recipe or the data cannot be used.
    """

    def __init__(self, recipe: Recipe | str | Path, overrides: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
        self.recipe = loaded(recipe, overrides, drop)
        launch.prepare_torch(self.recipe)
        device = choose_device(self.recipe.train.device)
        before = RandomState.capture(device)
        try:
            self.run = assemble(self.recipe)
            self.initialisation = initialise(self.run)
            """Messages about the weights that networks take from trained networks (`[init]`)."""
            self.run.load_data()
            self.run.start()
            self._random = RandomState.capture(device)
        finally:
            before.restore(device)

    def train(self, iterations: int | None = None) -> Session:
        """Train for more iterations, and return the session. Stop early if a plugin ends the run.

        Args:
            iterations: number of additional iterations, or None to train until `train.iterations` is reached.

        Raises:
            GankitError: a loss or a parameter is NaN or infinite.
            InputError: `iterations` is negative.
        """
        if iterations is not None and iterations < 0:
            raise InputError(f"iterations: {iterations} given; give the number of further iterations, 0 or more")
        run = self.run
        left = self.recipe.train.iterations - run.iteration if iterations is None else iterations
        with self._random_state():
            for _ in range(left):
                if run.stop_reason is not None:
                    break
                train_iteration(run)
                run.after_iteration(run)
        check_finite(run)
        return self

    @contextmanager
    def _random_state(self) -> Iterator[None]:
        """Run the `with` block with the random state of this session, then restore the random state of the process."""
        device, before = self.run.device, RandomState.capture(self.run.device)
        self._random.restore(device)
        try:
            yield
        finally:
            self._random = RandomState.capture(device)
            before.restore(device)

    @property
    def iteration(self) -> int:
        """Number of completed iterations."""
        return self.run.iteration

    @property
    def losses(self) -> dict[Player, dict[str, float]]:
        """Unweighted loss terms of each network in its last step, as `losses[player][name]`.

        `player` is `"generator"` or `"discriminator"`.
        """
        return {p: {name: value.item() for name, value in values.items()} for p, values in self.run.values.items()}

    @property
    def warnings(self) -> list[str]:
        """Warnings about the recipe and the run so far."""
        return [*self.run.warnings, *self.run.pending_warnings]

    def close(self) -> None:
        """Close the files of the plugins and stop the threads that load data. The networks can still be used."""
        self.run.on_stop(self.run)
        assert self.run.batches is not None
        self.run.batches.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session of {self.recipe.name} at iteration {self.iteration}>"

    def images(self, count: int, wanted: Wanted = None, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """Return generated images and the condition of each image.

        The images are a uint8 tensor (count, C, H, W) on the CPU. The condition is a tensor, such as labels (count,),
        or None if the generator is unconditional.

        Args:
            count: number of images.
            wanted: name or index of the image class to draw, or a dict such as `{"age": 30}` or `{"text": "a circle"}`.
                If None, the labels cycle through all classes. Other conditions are taken from real images.
            seed: random seed for z.

        Raises:
            InputError: the generator does not accept the condition in `wanted`, or `count` is below 1.
        """
        return Sampler.of_run(self.run).sample(count, _requested(count, wanted), seed)

    def grid(self, count: int = 64, wanted: Wanted = None, seed: int = 0) -> Image.Image:
        """Return an image grid with about `count` samples, in the same layout as a grid of `gankit sample`.

        If the generator is class-conditional and `wanted` is None, each row shows one class. All rows have the
        same length, so the number of samples may differ from `count`. The arguments and errors are the same as for the
        method `images`.
        """
        sampler = Sampler.of_run(self.run)
        layout = grid_layout(sampler, count, _requested(count, wanted), seed)
        return draw_grid(sampler, sampler.latent(layout.total, layout.condition, seed), layout)

    def metrics(self, samples: Tensor | None = None, condition: Tensor | None = None) -> dict[str, float]:
        """Compute the recipe's metrics for the current generator, and return their values by name.

        The call does not affect the training. The result may also contain metrics from the data plugin. The result is
        an empty dictionary if no plugin computes metrics.

        Args:
            samples: samples to compare with the data, such as images (N, C, H, W), as uint8 or as floats in [-1, 1]. If
                None, the current generator generates the samples.
            condition: condition of `samples`, such as labels (N,). None for samples without a condition.

        Raises:
            InputError: the samples and the data have different shapes or data types, or a metric cannot be computed.
        """
        if not self.run.metrics:
            return {}
        if samples is None:
            return dict(self.evaluate()["metrics"])
        return self._evaluator.metrics_of(Rows(samples, condition))

    def evaluate(self) -> dict[str, Any]:
        """Compute the recipe's metrics for the current generator, and return them as a row for `log.jsonl`.

        The row contains the metrics, the facts that affect their values (the protocol), and the time in seconds. It is
        empty if no plugin computes metrics. The call does not affect the training.

        Raises:
            InputError: a metric cannot be computed.
        """
        return self._evaluator.row() if self.run.metrics else {}

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.run)

    def save(self, path: str | Path) -> None:
        """Write the current generator to a file, in the same format as `generator.safetensors` in a run directory."""
        save_generator(self.run, Path(path))


def _requested(count: int, wanted: Wanted) -> Requested:
    if count < 1:
        raise InputError(f"count: {count} given; give the number of images, 1 or more")
    return requested_by(wanted)


class _Collector(Reporter):
    """Reporter that collects the warnings and the newest metrics of a run.

    At the end of the run, it writes report.html if `report` is True.
    """

    def __init__(self, report: bool) -> None:
        self.report = report
        self.warnings: list[str] = []
        self.metrics: dict[str, float] = {}

    def result(self, directory: RunDir, outcome: Outcome) -> Trained:
        """Return the result of a run, or raise KeyboardInterrupt if the run was interrupted."""
        if outcome.interrupted:
            raise KeyboardInterrupt(f"{directory.path} is at iteration {outcome.iterations}; resume it to continue")
        return Trained(
            directory.path, outcome.iterations, outcome.seconds, outcome.stop_reason, self.warnings, self.metrics
        )

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        self.metrics = metrics

    def warned(self, sentence: str) -> None:
        self.warnings.append(sentence)

    informed = warned

    def concluded(self, directory: RunDir) -> None:
        if self.report:
            write_report_of(directory, self.warned)
