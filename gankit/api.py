"""gankit from Python: the same recipes and the same results as on the command line, in a script or a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor

from gankit.errors import InputError
from gankit.evaluation.evaluator import Evaluator
from gankit.plugin.slots import Player
from gankit.recipe.bundled import find_recipe
from gankit.recipe.recipe import Recipe
from gankit.runtime.device import choose_device
from gankit.runtime.rng import RandomState
from gankit.sampling.generator_file import sampled_generator, save_generator
from gankit.sampling.grid import draw_grid, grid_layout
from gankit.sampling.sampler import Sampler
from gankit.storage.run_dir import RunDir
from gankit.training.launch import prepare_torch, start
from gankit.training.launch import resume as go_on
from gankit.training.loop import check_finite, measures
from gankit.training.reporter import Outcome, Silent
from gankit.training.run import Game
from gankit.training.update import play_iteration


@dataclass(frozen=True)
class Trained:
    """A run that came to its end, and what was said on the way."""

    path: Path
    """The run directory, with all that `gankit run` leaves."""

    iterations: int
    seconds: float
    """Of this process."""

    stop_reason: str | None
    """Why a plugin ended the run, if one did."""

    advice: list[str]
    """What plugins said of the recipe and of the run, and what was noticed on resuming it."""

    measures: dict[str, float]
    """The newest, by name."""

    @property
    def generator_file(self) -> Path:
        """The generator, alone enough to sample from."""
        return RunDir(self.path).generator_file


def train(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    drop: Iterable[str] = (),
) -> Trained:
    """Trains to the end, as `gankit run` does, with the same files in the same places.

    Ctrl-C finishes the iteration, writes a checkpoint and is raised again; `resume` goes on from there.

    Args:
        recipe: a recipe, its file, or the name of one that comes with gankit.
        out: the run directory; None for `runs/NAME/TIME`.
        overrides: `key=value`, as on the command line, where `recipe` is a file or a name.
        drop: keys to leave out, as `--drop` does.

    Raises:
        InputError: the recipe, the data or `out` cannot be used.
        GankitError: the run broke down.
    """
    listener = _Listener()
    return listener.result(*start(loaded(recipe, overrides, drop), out, listener, listener.advised))


def resume(run: str | Path, overrides: Iterable[str] = ()) -> Trained:
    """Goes on with a run from its newest checkpoint, as `gankit resume` does.

    Args:
        run: the run directory.
        overrides: `train.iterations=N`, `train.device=...` or `output....`.

    Raises:
        InputError: there is no run, or it cannot be gone on with.
        GankitError: the run broke down.
    """
    listener = _Listener()
    return listener.result(*go_on(run, overrides, listener, listener.advised))


def loaded(recipe: Recipe | str | Path, overrides: Iterable[str] = (), drop: Iterable[str] = ()) -> Recipe:
    """A recipe as it is; a file, or the name of one that comes with gankit, read.

    Raises InputError when it cannot be used, or when overrides stand beside a recipe that is read already.
    """
    if not isinstance(recipe, Recipe):
        return Recipe.load(find_recipe(str(recipe)), overrides, drop)
    if [*overrides, *drop]:
        raise InputError("overrides go with a recipe's file or name; a Recipe takes them in Recipe.load")
    return recipe


class Session:
    """A game in this process, played as far as you like; nothing is written unless you ask.

    Each session has random numbers of its own, so several may be played in turns.

    Args:
        recipe: a recipe, its file, or the name of one that comes with gankit.
        overrides: `key=value`, as on the command line, where `recipe` is a file or a name.
        drop: keys to leave out, as `--drop` does.

    Raises InputError when the recipe or the data cannot be used.

    As a context manager, it lets plugins close what they opened:

        with Session("igan_vn") as session:
            session.play(100)
    """

    def __init__(self, recipe: Recipe | str | Path, overrides: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
        self.recipe = loaded(recipe, overrides, drop)
        prepare_torch(self.recipe)
        device = choose_device(self.recipe.train.device)
        before = RandomState.now(device)
        try:
            self.game = Game(self.recipe)
            self.game.load_data()
            self.game.start()
            self._random = RandomState.now(device)
        finally:
            before.bring_back(device)

    def play(self, iterations: int | None = None) -> Session:
        """Plays so many iterations more; without a number, up to `train.iterations`. Ends early if a plugin says so.

        Raises:
            GankitError: a loss is no longer finite.
            InputError: fewer than no iterations are asked for.
        """
        if iterations is not None and iterations < 0:
            raise InputError(f"iterations: {iterations} given; how many more are to be played, 0 or more")
        game = self.game
        left = self.recipe.train.iterations - game.iteration if iterations is None else iterations
        with self._own_randomness():
            for _ in range(left):
                if game.stop_reason is not None:
                    break
                play_iteration(game)
                game.after_iteration(game)
        check_finite(game)
        return self

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """The game's random numbers go on from where they were, and whoever else draws some is not disturbed."""
        device, before = self.game.device, RandomState.now(self.game.device)
        self._random.bring_back(device)
        try:
            yield
        finally:
            self._random = RandomState.now(device)
            before.bring_back(device)

    @property
    def iteration(self) -> int:
        """Iterations played."""
        return self.game.iteration

    @property
    def losses(self) -> dict[Player, dict[str, float]]:
        """Each term's value in the player's last turn, unweighted."""
        return {player: {name: value.item() for name, value in of.items()} for player, of in self.game.values.items()}

    @property
    def advice(self) -> list[str]:
        """What plugins said of the recipe, and of the run so far."""
        return [*self.game.advice, *self.game.said]

    def close(self) -> None:
        """The game is over: plugins close their files, threads end. What was learnt can still be looked at."""
        self.game.hooks.event("on_stop")(self.game)
        assert self.game.batches is not None
        self.game.batches.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session of {self.recipe.name}, {self.iteration} iterations played>"

    def images(self, count: int, wanted: str | int | None = None, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """`count` images, (count, C, R, R) uint8 on the CPU, and their labels.

        Args:
            count: how many.
            wanted: only this class, by name or by number; otherwise all in turn.
            seed: the same seed gives the same z.

        Raises InputError when there is no such class, or fewer than one image is asked for.
        """
        sampler = self._sampler()
        return sampler.sample(_at_least_one(count), seed, _class(sampler, wanted))

    def grid(self, count: int = 64, wanted: str | int | None = None, seed: int = 0) -> Image.Image:
        """A picture of samples, as `gankit sample` draws it: a row for each class, which a notebook shows at once."""
        sampler = self._sampler()
        count, columns, labels, names = grid_layout(sampler, _at_least_one(count), _class(sampler, wanted))
        return draw_grid(sampler, sampler.latent(count, labels, seed), labels, columns, names)

    def measures(self) -> dict[str, float]:
        """What the recipe's plugins measure of the generator, by name. Leaves no trace in what is learnt."""
        found = measures(self.game)
        if self.game.measures:
            found |= self._evaluator.row()["measures"]
        return found

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.game)

    def save(self, path: str | Path) -> None:
        """Writes the generator, alone enough to sample from: the same file as a run's `generator.safetensors`."""
        save_generator(self.game, Path(path))

    def _sampler(self) -> Sampler:
        return Sampler(sampled_generator(self.game), self.game.hooks, self.game.spec, self.game.device)


def _at_least_one(count: int) -> int:
    if count < 1:
        raise InputError(f"count: {count} given; how many images are wanted, 1 or more")
    return count


def _class(sampler: Sampler, wanted: str | int | None) -> int | None:
    return None if wanted is None else sampler.class_index(str(wanted))


class _Listener(Silent):
    """Keeps what a caller may want to know of a run, and shows nothing."""

    def __init__(self) -> None:
        self.advice: list[str] = []
        self.measures: dict[str, float] = {}

    def result(self, directory: RunDir, outcome: Outcome) -> Trained:
        """Raises KeyboardInterrupt when that is what ended the run."""
        if outcome.interrupted:
            raise KeyboardInterrupt(f"{directory.path} stands at iteration {outcome.iterations}; resume goes on")
        return Trained(
            directory.path, outcome.iterations, outcome.seconds, outcome.stop_reason, self.advice, self.measures
        )

    def measured(self, iteration: int, measures: dict[str, float], seconds: float = 0.0) -> None:
        self.measures = measures

    def advised(self, sentence: str) -> None:
        self.advice.append(sentence.removeprefix("advice: "))
