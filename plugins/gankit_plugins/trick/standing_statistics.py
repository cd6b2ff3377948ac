"""Standing statistics: batch-norm statistics for sampling, computed from many generated images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gankit import InputError, Plugin, Run, Settings, hookimpl

Statistics = tuple[Tensor, Tensor]
"""Mean and variance of each channel, both (C,)."""


def statistics_of(x: Tensor) -> Statistics:
    """Return the mean and the variance of each channel of x, (B, C, ...), in float32 or a wider type.

    The variance is the mean squared deviation, which batch norm also uses in training.
    """
    dims = [d for d in range(x.dim()) if d != 1]
    variance, mean = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), dims, correction=0)
    return mean, variance


def aggregated(batches: Sequence[Statistics]) -> Statistics:
    """Return the mean and the variance over several batches of equal size, from the statistics of each batch.

    The variance is the mean of the variances plus the variance of the means.
    """
    means, variances = (torch.stack(values) for values in zip(*batches, strict=True))
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the network's batch norm layers that track running statistics."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in layers if layer.running_mean is not None]


def set_statistics(layer: _BatchNorm, statistics: Statistics) -> None:
    """Set the running statistics of a layer to a mean and a variance. The layer uses them in evaluation mode."""
    assert layer.running_mean is not None, "the layer has running averages"
    assert layer.running_var is not None, "the layer has running averages"
    layer.running_mean.copy_(statistics[0])
    layer.running_var.copy_(statistics[1])


@contextmanager
def recorded(layer: _BatchNorm) -> Iterator[None]:
    """Make a layer in evaluation mode normalise with the statistics of each batch.

    At exit, set the layer's running statistics to the mean and the variance over all batches. The layer stays in
    evaluation mode, because training mode would also update spectral norm and exchange statistics between ranks.
    """
    batches: list[Statistics] = []

    def use_batch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        batches.append(statistics_of(inputs[0]))
        set_statistics(layer, batches[-1])

    handle = layer.register_forward_pre_hook(use_batch)
    try:
        yield
    finally:
        handle.remove()
    if batches:
        set_statistics(layer, aggregated(batches))


class StandingStatistics(Plugin):
    """Batch norm statistics for sampling, computed from many generated images.

    Source: Brock 2018, appendix C.1, typically with 100 forward passes. The running statistics come from the weights of
    earlier iterations, and do not match the weights of `moving_average`. This trick generates `passes` batches. These
    batches have the same size as the batches that pass through G in training. With several ranks or `train.accumulate`,
    this size is smaller than `train.batch_size`. In each batch norm layer, the trick sets the running statistics to the
    mean and the variance over all these batches. In each pass, the layers normalise with the statistics of the batch,
    as in training. z is always drawn with the same seed, and classes are used in turn.

    Grids, metrics and the saved generator use these statistics. The training does not change. Each grid and each
    checkpoint costs `passes` forward passes of G.

    When to use: with batch norm and `moving_average`. Put `moving_average` before this trick in the recipe.
    When not: if grids are frequent and the generator is large; then choose fewer passes.
    """

    name = "standing_statistics"

    class Config(Settings):
        passes: int = Field(100, ge=1, description="number of batches over which the statistics are computed")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.copy: nn.Module | None = None
        self.steps: int | None = None

    @hookimpl
    def on_start(self, run: Run) -> None:
        if not batch_norms(run.generator):
            raise InputError(
                "the generator has no batch norm with running averages; remove standing_statistics, or set "
                "normalization.generator to batch_norm"
            )

    @hookimpl
    def sampling_generator(self, network: nn.Module, run: Run) -> nn.Module:
        steps = run.step_counts["generator"]
        if self.copy is None:
            self.copy = copy.deepcopy(network).requires_grad_(False)
        elif steps == self.steps:
            return self.copy
        self.copy.load_state_dict(network.state_dict())
        device = run.device
        # Restore the random state afterwards, because the network may draw random numbers, and the training must not
        # depend on the number of grids.
        with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
            torch.manual_seed(run.recipe.seed)
            self._compute(self.copy, run)
        self.steps = steps
        return self.copy

    @torch.no_grad()
    def _compute(self, network: nn.Module, run: Run) -> None:
        """Compute the statistics of all batch norm layers of a network from generated images.

        Afterwards, the network is in evaluation mode.
        """
        train = run.recipe.train
        count = train.batch_size // train.accumulate // run.ranks.size
        generator = torch.Generator(run.device).manual_seed(run.recipe.seed)
        network.eval()
        with ExitStack() as stack:
            for layer in batch_norms(network):
                stack.enter_context(recorded(layer))
            for number in range(self.config.passes):
                condition = self._condition(run, number, count)
                network(run.draw_latent(count, condition, generator), condition)

    def _condition(self, run: Run, number: int, count: int) -> Tensor | None:
        """Return the condition of pass `number`: classes in turn, the condition of fixed real images, or None."""
        if run.spec.classes:
            return torch.arange(number * count, (number + 1) * count, device=run.device) % run.spec.classes
        return run.draw_reference(count).condition if run.spec.condition is not None else None
