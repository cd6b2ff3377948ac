"""Names of the run and of the recipe that plugins may use. Everything else of both is internal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gankit.plugin.slots import Player
from gankit.plugin.step import StepContext

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gankit.plugin.base import Plugin
    from gankit.plugin.component import Component
    from gankit.plugin.dataset import Dataset
    from gankit.plugin.step import LossTerm, Step


class TrainSettings(Protocol):
    """Settings of the `[train]` table that plugins may read."""

    @property
    def iterations(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def accumulate(self) -> int: ...

    @property
    def discriminator_steps(self) -> int: ...

    @property
    def class_balanced(self) -> bool: ...


class RecipeInfo(Protocol):
    """The validated recipe, as plugins see it."""

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def train(self) -> TrainSettings: ...

    @property
    def components(self) -> Mapping[str, Component]:
        """Plugins with their settings, by their keys (`generator`, `tricks.r1`), in the order in which they act."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as nested dictionaries, with all defaults."""
        ...

    def to_toml(self) -> str:
        """Return the recipe as TOML, with all defaults."""
        ...

    def uses(self, name: str) -> bool:
        """Return whether a plugin of this name is anywhere in the recipe."""
        ...

    def use_of(self, key: str) -> str | None:
        """Return the name of the plugin at a key such as `normalization.discriminator`, or None if there is none."""
        ...

    def plugin_class(self, key: str) -> type[Plugin]:
        """Return the class of the plugin at a key.

        Raises:
            KeyError: no plugin is at this key.
        """
        ...

    def coupling(self, player: Player) -> list[str]:
        """Return the keys of the components that couple the samples of a batch in the player's network."""
        ...


class Run(StepContext, Protocol):
    """State of one training run, as plugins see it: the argument `run` of the hook points.

    Networks, optimisers and loss terms exist from the hook point that follows the one that builds them.
    """

    device: torch.device
    """Device of the networks and batches of this process."""

    directory: Path | None
    """Run directory, or None when nothing is written, as in a `Session`."""

    iteration: int
    """Number of completed iterations."""

    step_counts: dict[Player, int]
    """Number of completed steps of each player."""

    values: dict[Player, dict[str, Tensor]]
    """Unweighted value of each loss term at the player's last step, as scalars on the device."""

    stop_reason: str | None
    """Reason that a plugin gave for ending the run, or None."""

    failure: str | None
    """Message of the error that ended the run, or None."""

    dataset: Dataset
    networks: dict[Player, nn.Module]
    parameters: dict[Player, list[nn.Parameter]]
    """Trainable parameters of each player's network."""

    optimizers: dict[Player, torch.optim.Optimizer]
    terms: dict[Player, list[LossTerm]]
    """Loss terms of each player, with unique names."""

    before_step: dict[Player, Callable[[Run, Step], None]]
    """For each player, a function that calls the hook `before_d_step` or `before_g_step` of all plugins."""

    @property
    def recipe(self) -> RecipeInfo:
        """The recipe that is trained."""
        ...

    @property
    def generator(self) -> nn.Module:
        """The generator that is trained."""
        ...

    def stop(self, reason: str) -> None:
        """End the run after this iteration. The reason is shown to the user."""
        ...

    def warn(self, sentence: str) -> None:
        """Show a warning to the user while the run goes on, and write it to `log.jsonl`."""
        ...

    def draw_latent(self, count: int, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Return z from the prior, (count, latent_size), on the device."""
        ...

    def draw_reference(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return real images that depend on the seed alone, (count, C, R, R) in [-1, 1], and their labels (count,).

        The order of the training batches does not change.

        Raises:
            InputError: batches are class-balanced and `count` is not a multiple of the number of classes.
        """
        ...

    def learning_rate(self, player: Player) -> float:
        """Return the learning rate of the player's first parameter group at the current iteration."""
        ...


StepOrder = Sequence[Player]
"""Players in the order of their steps within one iteration."""
