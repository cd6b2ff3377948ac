"""State of one training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor, nn

from gankit.data.batches import BatchSource, make_batch_source
from gankit.errors import InputError, recipe_errors
from gankit.images.grid import to_float
from gankit.plugin.base import Plugin
from gankit.plugin.comparison import Comparison
from gankit.plugin.dataset import Dataset
from gankit.plugin.extractor import Extractor
from gankit.plugin.hooks import Hooks
from gankit.plugin.protocols import Run, StepOrder
from gankit.plugin.slots import PLAYERS, Player
from gankit.plugin.spec import Spec
from gankit.plugin.step import LossTerm, Source, Step
from gankit.recipe.recipe import Recipe
from gankit.runtime.ranks import Ranks
from gankit.runtime.rng import derived_seed, fork_rng

Event = Callable[..., None]
"""Hook point of kind *event*, as one function that calls all plugins."""


class TrainingRun:
    """State of one training run. `assemble` builds it, the loop changes it, checkpoints capture it.

    It implements the protocol `gankit.Run`, whose names are for plugins. All other names belong to the core.

    Args:
        recipe: what to train.
        ranks: the processes that train it together.
        device: the device of this process.
        bf16: whether matrix products are in bfloat16.
        plugins: instances by their keys in the recipe.
        hooks: hook implementations of these plugins.
        warnings: warnings about the recipe.
    """

    recipe: Recipe

    # Progress

    iteration: int
    step_counts: dict[Player, int]
    values: dict[Player, dict[str, Tensor]]
    stop_reason: str | None
    failure: str | None
    directory: Path | None

    pending_warnings: list[str]
    """Warnings that have not been shown yet."""

    # Built by `assemble`, in this order

    dataset: Dataset
    spec: Spec
    networks: dict[Player, nn.Module]
    parameters: dict[Player, list[nn.Parameter]]
    optimizers: dict[Player, torch.optim.Optimizer]
    base_rates: dict[Player, list[float]]
    """Learning rate of each parameter group before the schedules."""

    terms: dict[Player, list[LossTerm]]
    schedules: dict[Player, list[Callable[[int], float]]]

    # Hook points of the loop, resolved to plain functions

    before_step: dict[Player, Callable[[Run, Step], None]]
    after_step: dict[Player, Event]
    after_backward: Event
    after_iteration: Event
    on_log: Event
    on_grid: Event
    on_stop: Event
    step_order: Callable[[Run], StepOrder | None] | None
    backward: Callable[[Run, Step, Player, Sequence[LossTerm]], dict[str, Tensor]] | None
    sample_latent: Callable[[int, Tensor | None, torch.device, torch.Generator | None], Tensor]
    sampling_generator: Callable[[Run], nn.Module | None] | None
    draw_samples: Callable[[Tensor], Image | None] | None
    input_hooks: list[Callable[..., tuple[Tensor, Tensor | None]]]
    metrics: dict[str, Callable[[Comparison], Mapping[str, float] | None]]
    """Hook `compute_metrics` of each plugin that implements it, by key."""

    # Loaded by `load_data`

    batches: BatchSource | None

    def __init__(
        self,
        recipe: Recipe,
        ranks: Ranks,
        device: torch.device,
        bf16: bool,
        plugins: dict[str, Plugin],
        hooks: Hooks,
        warnings: list[str],
    ) -> None:
        self.recipe, self.ranks, self.device, self.bf16 = recipe, ranks, device, bf16
        self.plugins, self.hooks, self.warnings = plugins, hooks, warnings
        self.iteration = 0
        self.step_counts = dict.fromkeys(PLAYERS, 0)
        self.values = {player: {} for player in PLAYERS}
        self.stop_reason = self.failure = None
        self.directory = None
        self.pending_warnings = []
        self.batches = None

    @property
    def generator(self) -> nn.Module:
        """The generator that is trained."""
        return self.networks["generator"]

    @property
    def discriminator(self) -> nn.Module:
        """The discriminator that is trained."""
        return self.networks["discriminator"]

    def stop(self, reason: str) -> None:
        """End the run after this iteration. The reason is shown to the user."""
        self.stop_reason = reason

    def warn(self, sentence: str) -> None:
        """Show a warning to the user while the run goes on, and write it to `log.jsonl`."""
        self.pending_warnings.append(sentence)

    def load_data(self) -> None:
        """Read the images and place them where batches are drawn from."""
        images, labels = self.dataset.load()
        train = self.recipe.train
        self.batches = make_batch_source(
            images,
            labels,
            self.device,
            train.batch_size // train.accumulate,
            self._balanced_classes,
            derived_seed(self.recipe.seed, "data"),
            ranks=self.ranks,
        )

    def build_extractor(self) -> Extractor:
        """Return the feature extractor of the recipe.

        Raises:
            RecipeError: a file or package that it needs is missing.
        """
        with recipe_errors(self.recipe.source, "extractor"):
            extractor: Extractor = self.hooks.one("build_extractor", self.dataset, self.device)
            return extractor

    def start(self) -> None:
        """Call `on_start` of all plugins, before the first iteration of this process."""
        # A resumed run calls this again. Random numbers that plugins draw here must not shift those of the training.
        with fork_rng(self.device, derived_seed(self.recipe.seed, "start")):
            self.hooks.event("on_start")(self)

    def draw(self) -> tuple[Tensor, Tensor | None]:
        """Return the next real images, (B, C, R, R) in [-1, 1], and their labels (B,), on the device."""
        assert self.batches is not None, "load_data comes first"
        images, labels = self.batches.next()
        return self._to_device(images, labels)

    def draw_reference(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return real images that depend on the seed alone, (count, C, R, R) in [-1, 1], and their labels (count,).

        The order of the training batches does not change.

        Raises:
            InputError: batches are class-balanced and `count` is not a multiple of the number of classes.
        """
        assert self.batches is not None, "load_data comes first"
        classes = self._balanced_classes
        if classes and count % classes:
            raise InputError(f"{count} reference images cannot be balanced over {classes} classes; take a multiple")
        seed = derived_seed(self.recipe.seed, "reference")
        return self._to_device(*self.batches.reference(count, classes, seed))

    @property
    def _balanced_classes(self) -> int:
        """Number of classes that each batch holds in equal shares. 0 if batches are not balanced."""
        return self.spec.classes if self.spec.class_balanced else 0

    def _to_device(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        images = images.to(self.device, non_blocking=True)
        images = images if images.is_floating_point() else to_float(images)
        if self.recipe.train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, None if labels is None else labels.to(self.device, non_blocking=True)

    def draw_latent(self, count: int, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Return z from the prior, (count, latent_size), on the device."""
        return self.sample_latent(count, labels, self.device, generator)

    def learning_rate(self, player: Player) -> float:
        """Return the learning rate of the player's first parameter group at the current iteration."""
        return self.base_rates[player][0] * self.rate_factor(player)

    def rate_factor(self, player: Player) -> float:
        """Return the product of the player's schedules at the current iteration."""
        factor = 1.0
        for schedule in self.schedules[player]:
            factor *= schedule(self.iteration)
        return factor

    def discriminator_inputs(
        self, images: Tensor, labels: Tensor | None, source: Source, player: Player
    ) -> tuple[Tensor, Tensor | None]:
        """Return images (B, C, R, R) and labels (B,) after all `discriminator_inputs` hooks."""
        for hook in self.input_hooks:
            images, labels = hook(images, labels, source, player, self)
        return images, labels

    def sampled_generator(self) -> nn.Module:
        """Return the generator to sample from: that of a plugin, such as a moving average, or the trained one."""
        chosen = self.sampling_generator(self) if self.sampling_generator is not None else None
        return self.generator if chosen is None else chosen

    def sampled_generator_name(self) -> str:
        """Return the name of the plugin that provides `sampled_generator`, or `newest` for the trained one."""
        if self.sampled_generator() is self.generator:
            return "newest"
        return self.hooks.of("sampling_generator")[0].plugin.name

    def autocast(self) -> torch.autocast:
        """Return the context in which networks and losses are computed."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def finished(self) -> bool:
        """Return whether all iterations are done or a plugin has ended the run."""
        return self.iteration == self.recipe.train.iterations or self.stop_reason is not None
