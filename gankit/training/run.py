"""State of one training run, from its assembly to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.data.batches import BatchSource, make_batch_source
from gankit.data.record import DataRecord, data_record
from gankit.errors import InputError, recipe_errors
from gankit.images.grid import as_input
from gankit.plugin.base import Plugin
from gankit.plugin.comparison import Comparison
from gankit.plugin.dataset import Dataset, Rows, in_eight_bits
from gankit.plugin.extractor import Extractor
from gankit.plugin.hooks import Hooks
from gankit.plugin.protocols import Run, StepOrder
from gankit.plugin.slots import PLAYERS, Player
from gankit.plugin.spec import Spec
from gankit.plugin.step import LossTerm, Source, Step
from gankit.recipe.recipe import Recipe
from gankit.runtime.ranks import Ranks
from gankit.runtime.rng import derived_seed, fork_rng
from gankit.storage.trained_network import Origin
from gankit.training.best import Best, first_best

EXAMPLES = 64
"""Maximum number of real images whose conditions are stored, to generate samples for these conditions."""

Event = Callable[..., None]
"""Function that calls one hook in all plugins that implement this hook. The hook returns no value."""


class TrainingRun(Run):
    """State of one training run. `assemble` creates this object, the training loop updates it, and checkpoints save it.

    Plugins may use the attributes and methods that `gankit.Run` declares. All other attributes and methods are only for
    the core.

    Args:
        recipe: recipe of the run.
        ranks: processes that train the run together.
        device: device of this process.
        bf16: True if networks and losses run under autocast to bfloat16.
        plugins: plugin instances, by their keys in the recipe.
        hooks: hook implementations of the plugins.
        warnings: warnings about the recipe.
    """

    recipe: Recipe
    stop_reason: str | None
    failure: str | None
    directory: Path | None

    gradient_norms: dict[Player, Tensor]
    """Gradient norm of each player's last step, before clipping. Empty in iterations that have no row in the log."""

    best: Best | None
    """Best value of the metric `output.keep_best`, or None if the recipe does not set it."""

    collapsed_since: int | None
    """Iteration at which a collapse began, or None if no plugin has called `roll_back`."""

    rollbacks: int
    """Number of rollbacks so far. Each one lowers the learning rates, and changes the data order and random seed."""

    pending_warnings: list[str]
    """Warnings that have not been reported and logged yet."""

    dataset: Dataset
    spec: Spec
    networks: dict[str, nn.Module]
    saved_networks: tuple[str, ...]
    """Names of the networks that checkpoints contain."""

    origins: dict[str, Origin]
    """Record of the file with the initial weights of each network in the table `[init]`, by the name of the network."""

    initial_weights: dict[str, dict[str, Any]]
    """Content of `init.json`: the tensors of each network in `[init]`, and whether each one was read from the file."""

    trained_networks: tuple[str, ...]
    """Names of the networks that are trained by at least one player (generator or discriminator)."""

    wrapped_by: dict[Player, list[str]]
    """Recipe keys of the plugins whose `wrap_network` changed the structure of a player's network."""

    parameters: dict[Player, list[nn.Parameter]]
    frozen_parameters: dict[Player, list[nn.Parameter]]
    """Parameters of other networks that are frozen in the steps of each player.

    In these steps, they get no gradients.
    """

    optimizers: dict[Player, torch.optim.Optimizer]
    terms: dict[Player, list[LossTerm]]
    schedules: dict[Player, list[Callable[[int], float]]]
    base_rates: dict[Player, list[float]]
    """Learning rate of each parameter group of a player's optimiser, before multiplication by schedule factors."""

    # Functions that call the hooks of the plugins. An `Event` calls its hook in all plugins.

    before_iteration: Event
    before_step: dict[Player, Event]
    after_step: dict[Player, Event]
    after_backward: Event
    after_iteration: Event
    on_log: Event
    on_grid: Event
    on_samples: Event
    on_stop: Event
    draw_step: Callable[[Run, Player], Step | None] | None
    step_order: Callable[[Run], StepOrder | None] | None
    loss_weights: list[Callable[[Run, Player], Mapping[str, float | Tensor] | None]]
    backward: Callable[[Run, Step, Player, Sequence[LossTerm]], dict[str, Tensor] | None] | None
    sample_latent: Callable[[int, Tensor | None, torch.device, torch.Generator | None], Tensor]
    input_hooks: list[Callable[..., tuple[Tensor, Tensor | None]]]
    metrics: dict[str, Callable[[Comparison], Mapping[str, float] | None]]
    """Implementations of the hook `compute_metrics`, by the plugin's key in the recipe."""

    batches: BatchSource | None
    """Source of the batches of real images. None until `load_data` is called."""

    data_record: DataRecord
    """Facts about the data, such as the number, shape and hashes of the images.

    The record is set by `load_data`, and is part of each checkpoint.
    """

    class_counts: list[int]
    """Number of images of each class, set by `load_data`. Empty if the images have no classes."""

    condition_examples: Tensor | None
    """Conditions of some real images, to generate samples for these conditions. Set by `load_data`.

    None if the condition is a class, or if there is no condition.
    """

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
        self.gradient_norms = {}
        self.stop_reason = self.failure = None
        self.directory = None
        self.best = first_best(recipe, hooks)
        self.collapsed_since = None
        self.rollbacks = 0
        self.pending_warnings = []
        self.batches = None
        self.origins, self.initial_weights = {}, {}
        self.class_counts = []
        self.condition_examples = None

    @property
    def generator(self) -> nn.Module:
        return self.networks["generator"]

    @property
    def discriminator(self) -> nn.Module:
        return self.networks["discriminator"]

    def stop(self, reason: str) -> None:
        self.stop_reason = reason

    def roll_back(self, reason: str, since: int) -> None:
        self.stop_reason, self.collapsed_since = reason, since

    def warn(self, sentence: str) -> None:
        self.pending_warnings.append(sentence)

    def load_data(self) -> None:
        """Read the real images, and set `batches` to a source of batches of these images."""
        with recipe_errors(self.recipe.source, "data"):
            rows = self.dataset.read()
        train = self.recipe.train
        self.batches = make_batch_source(
            rows,
            self.device,
            train.batch_size // train.accumulate,
            self._balanced_classes,
            derived_seed(self.recipe.seed, f"data/rollback {self.rollbacks}" if self.rollbacks else "data"),
            ranks=self.ranks,
        )
        self.data_record = data_record(rows, self.dataset.condition)
        if rows.condition is not None and self.dataset.class_names:
            self.class_counts = rows.condition.bincount(minlength=len(self.dataset.class_names)).tolist()
        elif rows.condition is not None:
            seed = derived_seed(self.recipe.seed, "conditions")
            examples = self.batches.reference(min(EXAMPLES, self.batches.size), 0, seed).condition
            assert examples is not None
            self.condition_examples = as_input(examples.cpu())

    def build_extractor(self) -> Extractor:
        """Build the recipe's feature extractor for metrics. Raise RecipeError if its file or package is missing."""
        with recipe_errors(self.recipe.source, "extractor"):
            return self.hooks.one("build_extractor", in_eight_bits(self.dataset), self.device)

    def start(self) -> None:
        """Call `on_start` of all plugins, before the first iteration of this process.

        Raises:
            RecipeError: a plugin cannot work with the networks or the data.
        """
        # A resumed run calls `on_start` again. Random numbers drawn in `on_start` must not change the training.
        with fork_rng(self.device, derived_seed(self.recipe.seed, "start")):
            for implementation in self.hooks.of("on_start"):
                with recipe_errors(self.recipe.source, implementation.key):
                    implementation.call(self)

    def draw_real(self) -> Rows:
        assert self.batches is not None, "load_data comes first"
        return self._to_device(self.batches.next())

    @property
    def num_real(self) -> int:
        assert self.batches is not None, "load_data comes first"
        return self.batches.size

    def take_real(self, index: Tensor) -> Rows:
        assert self.batches is not None, "load_data comes first"
        return self._to_device(self.batches.take(index))

    def draw_reference(self, count: int) -> Rows:
        assert self.batches is not None, "load_data comes first"
        classes = self._balanced_classes
        if classes and count % classes:
            raise InputError(f"{count} reference images cannot be balanced over {classes} classes; take a multiple")
        seed = derived_seed(self.recipe.seed, "reference")
        return self._to_device(self.batches.reference(count, classes, seed))

    @property
    def _balanced_classes(self) -> int:
        """Number of classes if each batch contains the same number of images of each class, otherwise 0."""
        return self.spec.classes if self.spec.class_balanced else 0

    def _to_device(self, rows: Rows) -> Rows:
        images, condition, fields = rows.map(lambda tensor: tensor.to(self.device, non_blocking=True))
        return Rows(self._as_input(images), None if condition is None else self._as_input(condition), fields)

    def _as_input(self, tensor: Tensor) -> Tensor:
        """Convert images or a condition to network input: scale images to [-1, 1], and set the run's memory format."""
        tensor = as_input(tensor)
        if self.recipe.train.channels_last and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def draw_latent(self, count: int, condition: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self.sample_latent(count, condition, self.device, generator)

    def learning_rate(self, player: Player) -> float:
        return self.base_rates[player][0] * self.rate_factor(player)

    def rate_factor(self, player: Player) -> float:
        """Return the product of the factors from learning-rate schedules and rollbacks at the current iteration."""
        factor = self.recipe.train.rollback_factor**self.rollbacks
        for schedule in self.schedules[player]:
            factor *= schedule(self.iteration)
        return factor

    def discriminator_inputs(
        self, images: Tensor, condition: Tensor | None, source: Source, step: Step
    ) -> tuple[Tensor, Tensor | None]:
        for hook in self.input_hooks:
            images, condition = hook(images, condition, source, step.player, self, step)
        return images, condition

    def sampled_generator(self) -> nn.Module:
        """Return the generator for grids and metrics: the trained generator, or a plugin's generator.

        A plugin may provide a moving average of the generator, for example.
        """
        return self._sampled()[0]

    def sampled_generator_name(self) -> str:
        """Return the names of the plugins whose generator is sampled, or `newest` for the trained generator."""
        return ", ".join(self._sampled()[1]) or "newest"

    def _sampled(self) -> tuple[nn.Module, list[str]]:
        """Return the generator after all `sampling_generator` hooks, and the names of the plugins that replaced it."""
        network, names = self.generator, []
        for implementation in self.hooks.of("sampling_generator"):
            chosen = implementation.call(network, self)
            if chosen is not None and chosen is not network:
                network = chosen
                names.append(implementation.plugin.name)
        return network, names

    def autocast(self) -> torch.autocast:
        """Return the autocast context for networks and losses. The context has no effect if `bf16` is false."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def finished(self) -> bool:
        """Return True if all iterations are done or a plugin has stopped the run."""
        return self.iteration == self.recipe.train.iterations or self.stop_reason is not None
