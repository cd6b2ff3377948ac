"""Interfaces of the run and the recipe that plugins may use. Attributes and methods not declared here are internal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gankit.plugin.slots import Player
from gankit.plugin.step import StepContext

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gankit.plugin.base import Plugin
    from gankit.plugin.component import Component
    from gankit.plugin.dataset import Dataset, Rows
    from gankit.plugin.step import LossTerm, Step


class TrainSettings(Protocol):
    """Settings of the `[train]` table that plugins may read."""

    iterations: int
    batch_size: int
    accumulate: int
    discriminator_steps: int
    class_balanced: bool


class RecipeInfo(Protocol):
    """Validated recipe, with the attributes and methods that plugins may use."""

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def train(self) -> TrainSettings: ...

    @property
    def components(self) -> Mapping[str, Component]:
        """Plugins with their settings, by key (such as `tricks.r1`), in the order in which plugins are called."""

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as nested dictionaries, including default values."""

    def to_toml(self) -> str:
        """Return the recipe as TOML text, including default values."""

    def uses(self, name: str) -> bool:
        """Return True if the recipe contains a plugin with this name."""

    def use_of(self, key: str) -> str | None:
        """Return the name of the plugin at a key, such as `loss`, or None if there is no plugin at this key."""

    def plugin_class(self, key: str) -> type[Plugin]:
        """Return the class of the plugin at a key. Raise KeyError if there is no plugin at this key."""

    def coupling(self, player: Player) -> list[str]:
        """Return the keys of plugins, such as batch norm, that couple the images of a batch in the player's network.

        With such a plugin, the network's output for one image depends on the other images of the batch.
        """


class Run(StepContext, Protocol):
    """State of one training run, with the attributes and methods that plugins may use.

    Hooks receive this object as the argument `run`. The networks, optimisers and loss terms of the run exist only after
    the hooks that build them have been called.
    """

    recipe: RecipeInfo
    device: torch.device
    """Device of the networks and batches of this process."""

    directory: Path | None
    """Directory for the files of the run. None if the run writes no files, such as a `gankit.Session`."""

    iteration: int
    """Number of completed iterations."""

    step_counts: dict[Player, int]
    """Number of completed steps of each player."""

    values: dict[Player, dict[str, Tensor]]
    """Unweighted value of each loss term, from the last step that computed it. Each value is a scalar on `device`."""

    stop_reason: str | None
    """Reason given by the plugin that stopped the run early, or None if no plugin stopped the run."""

    failure: str | None
    """Message of the error that ended the run, or None if there was no error."""

    dataset: Dataset
    networks: dict[str, nn.Module]
    """Networks by name: `generator`, `discriminator`, and the networks from the hook `extra_networks`."""

    parameters: dict[Player, list[nn.Parameter]]
    """Parameters that each player trains: parameters of the player's own network and of extra networks."""

    optimizers: dict[Player, torch.optim.Optimizer]
    terms: dict[Player, list[LossTerm]]
    """Loss terms of each player, with unique names."""

    before_step: dict[Player, Callable[[Run, Step], None]]
    """Functions that call all `before_d_step` hooks (discriminator) or all `before_g_step` hooks (generator).

    A plugin that runs additional D steps, such as simulated steps, must call the discriminator's function before them.
    """

    @property
    def generator(self) -> nn.Module:
        """Generator that this run trains."""

    def stop(self, reason: str) -> None:
        """End the run after this iteration, and show the reason to the user."""

    def roll_back(self, reason: str, since: int) -> None:
        """Return to the newest checkpoint from iteration `since` or earlier. The collapse began at iteration `since`.

        If there is no such checkpoint, or the run has already made `train.rollbacks` rollbacks, end the run as `stop`
        does. With several ranks, call this method on all ranks at the same iteration.
        """

    def warn(self, sentence: str) -> None:
        """Show a warning to the user, and write the warning to `log.jsonl`. The run continues."""

    def draw_real(self) -> Rows:
        """Return the next batch on `device`: real images, (B, C, H, W) in [-1, 1], their condition, and fields.

        Fields are the dataset's further tensors, by name. The batch is a named tuple:
        `real, condition, fields = run.draw_real()`. Each call returns a new batch of the training data.
        """

    @property
    def num_real(self) -> int:
        """N, number of samples of the training data. Available from `on_start` on."""

    def take_real(self, index: Tensor) -> Rows:
        """Return the samples of the training data with the row numbers `index`, (n,) int64 on the CPU, on `device`.

        The samples are real images, (n, C, H, W) in [-1, 1], with their condition and fields (`Rows`). n may be 0. This
        call does not affect the order of the training batches.
        """

    def draw_latent(self, count: int, condition: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Draw latent vectors z from the prior, (count, latent_size), on the device of the run."""

    def draw_reference(self, count: int) -> Rows:
        """Return a fixed set of real images, (count, C, H, W) in [-1, 1], with their condition and fields (`Rows`).

        The choice of images depends only on the seed of the recipe. Virtual batch norm, for example, uses these images
        as its reference batch. This call does not affect the order of the training batches.

        Raises:
            InputError: batches are class-balanced and `count` is not a multiple of the number of classes.
        """

    def learning_rate(self, player: Player) -> float:
        """Return the learning rate of the player's first parameter group at the current iteration."""


@runtime_checkable
class StyleBased(Protocol):
    """Generator that maps z to a style vector w, and style vectors to images. Any network may have these methods.

    Sampling uses these methods to find directions in w, to move w, and to find the w of a real image.
    """

    @property
    def style_layers(self) -> int:
        """L, number of layers that take a style vector."""

    def map_latent(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return w before truncation, (B, W), for z (B, latent_size) and the condition."""

    def styles(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return w for each of L layers, (B, L, W), after truncation in evaluation mode."""

    def synthesize(self, ws: Tensor) -> Tensor:
        """Return images (B, C, H, W) for the style vectors of each layer, (B, L, W)."""


StepOrder = Sequence[Player]
"""Players in the order of their steps within one iteration."""
