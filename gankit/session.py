"""gankit from Python: the same recipes and the same results as on the command line, in a script or a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gankit.aside import RandomState, evaluating, own_randomness
from gankit.bundled import find_recipe
from gankit.game import Game, choose_device
from gankit.plugin import Player
from gankit.recipe import Recipe
from gankit.run_dir import RunDir
from gankit.runs import prepare_torch, start
from gankit.sampling import Sampler, draw_grid, grid_layout, sampled_generator, save_generator
from gankit.trainer import Outcome, check_finite, play_iteration


def train(recipe: Recipe | str | Path, out: str | Path | None = None, overrides: Iterable[str] = ()) -> RunDir:
    """Trains to the end, as `gankit run` does, with the same files in the same places.

    Args:
        recipe: a recipe, its file, or the name of one that comes with gankit.
        out: the run directory; None for `runs/NAME/TIME`.
        overrides: `key=value`, as on the command line, where `recipe` is a file or a name.

    Raises:
        InputError: the recipe, the data or `out` cannot be used.
        GankitError: the run broke down.
    """
    directory, _ = start(loaded(recipe, overrides), out, _Silent(), lambda sentence: None)
    return directory


def loaded(recipe: Recipe | str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe as it is; a file, or the name of one that comes with gankit, read."""
    return recipe if isinstance(recipe, Recipe) else Recipe.load(find_recipe(str(recipe)), overrides)


class Session:
    """A game in this process, played as far as you like; nothing is written unless you ask.

    Each session has random numbers of its own, so several may be played in turns.

    Args:
        recipe: a recipe, its file, or the name of one that comes with gankit.
        overrides: `key=value`, as on the command line, where `recipe` is a file or a name.

    Raises InputError when the recipe or the data cannot be used.
    """

    def __init__(self, recipe: Recipe | str | Path, overrides: Iterable[str] = ()) -> None:
        self.recipe = loaded(recipe, overrides)
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

        Raises GankitError when a loss or a weight is no longer finite.
        """
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

    def images(self, count: int, wanted: str | None = None, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """`count` images, (count, C, R, R) uint8 on the CPU, and their labels.

        Args:
            count: how many.
            wanted: only this class, by name or by number; otherwise all in turn.
            seed: the same seed gives the same z.
        """
        sampler = self._sampler()
        return sampler.sample(count, seed, None if wanted is None else sampler.class_index(wanted))

    def grid(self, count: int = 64, wanted: str | None = None, seed: int = 0) -> Image.Image:
        """A picture of samples, as `gankit sample` draws it: a row for each class, which a notebook shows at once."""
        sampler = self._sampler()
        index = None if wanted is None else sampler.class_index(wanted)
        count, columns, labels, names = grid_layout(sampler, count, index)
        return draw_grid(sampler, sampler.latent(count, labels, seed), labels, columns, names)

    def measures(self) -> dict[str, float]:
        """What the recipe's plugins measure of the generator, by name. Leaves no trace in what is learnt."""
        generator, found = sampled_generator(self.game), dict[str, float]()
        for evaluate in self.game.evaluate:
            with torch.no_grad(), evaluating(generator), own_randomness(self.game.device):
                found |= evaluate(self.game, generator) or {}
        return found

    def save(self, path: str | Path) -> None:
        """Writes the generator, alone enough to sample from: the same file as a run's `generator.safetensors`."""
        save_generator(self.game, Path(path))

    def _sampler(self) -> Sampler:
        return Sampler(sampled_generator(self.game), self.game.hooks, self.game.spec, self.game.device)


class _Silent:
    """Reports to nobody."""

    def began(self, game: Game, directory: RunDir) -> None: ...

    def played(self, game: Game) -> None: ...

    def logged(self, row: dict[str, Any]) -> None: ...

    def measured(self, iteration: int, measures: dict[str, float]) -> None: ...

    def advised(self, sentence: str) -> None: ...

    def stopping(self) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...
