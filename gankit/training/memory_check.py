"""Checks of the memory that a training step needs, and the batch size that fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from gankit.errors import GankitError, Problem, RecipeError
from gankit.formatting import megabytes
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import Recipe
from gankit.runtime.device import free_memory
from gankit.runtime.memory_limit import free_address_space, is_out_of_memory, memory_limit
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.training.cost import measure_cost
from gankit.training.run import TrainingRun

FLOAT_BYTES = 4

CERTAIN_SHARE = 1000
"""Ratio of the available memory to the least bytes of a step above which the step is not estimated.

Networks of the usual sizes store fewer than 1,000 numbers for each number of an image.
"""

HEADROOM = 1.25
"""Ratio of the memory that a process needs to the measured peak of its tensors. Memory allocators have gaps."""

ROUGH = 2
"""Largest expected ratio of the measured to the estimated memory of a step. Penalties on gradients need more."""

SMALL_BATCHES = (8, 2)
"""Batch sizes that are measured, together with their doubles. The second is used if the first does not fit.

Memory is a linear function of the batch size from about 8 images on. With fewer, the buffers of single operators count.
"""

Assemble = Callable[[Recipe, torch.device], TrainingRun]
"""Function that builds the run of a recipe without a check of its memory."""


def available_memory(device: torch.device) -> int | None:
    """Return the number of bytes that this process can still allocate on a device, or None if it is unknown."""
    if (free := free_memory(device)) is not None:
        return free
    limits = [limit for limit in (memory_limit(), free_address_space()) if limit is not None]
    return min(limits, default=None)


def least_bytes(recipe: Recipe, spec: Spec, ranks: int) -> int:
    """Return a lower bound of the memory that a D step needs on one rank, in bytes.

    The bound counts real images, generated images and z in float32. Networks, activations and gradients are not
    counted, so a step needs several times as much memory.
    """
    return _step_images(recipe, ranks) * FLOAT_BYTES * (2 * math.prod(spec.shape) + spec.latent_size)


def _step_images(recipe: Recipe, ranks: int) -> int:
    """Return the number of real images that one rank processes at once."""
    return recipe.train.batch_size // recipe.train.accumulate // ranks


def check_memory(run: TrainingRun, assemble: Assemble) -> None:
    """Check that the images of a batch can fit into the memory of the device, before the networks are built.

    Raises:
        RecipeError: the images of one step need more memory than is available.
    """
    limit, needed = available_memory(run.device), least_bytes(run.recipe, run.spec, run.ranks.size)
    if limit is not None and needed > limit:
        raise _too_large(run, f"the images of one step take at least {megabytes(needed)}", limit, assemble)


def check_step_memory(run: TrainingRun, assemble: Assemble) -> None:
    """Check that a training step can fit into the memory of the device, before the images are loaded.

    The memory is measured with two small batches if a rough estimate is not far below the available memory.

    Raises:
        RecipeError: the step needs more memory than is available.
    """
    limit = available_memory(run.device)
    if limit is None or least_bytes(run.recipe, run.spec, run.ranks.size) * CERTAIN_SHARE < limit:
        return
    if ROUGH * estimated_bytes(run) < limit or (memory := measure_memory(run, assemble)) is None:
        return
    if (needed := memory.at(_step_images(run.recipe, run.ranks.size))) > limit:
        raise _too_large(run, f"one step needs about {megabytes(needed)}", limit, assemble)


def _too_large(run: TrainingRun, fact: str, limit: int, assemble: Assemble) -> RecipeError:
    recipe = run.recipe
    remedy = fitting_settings(run, limit, assemble)
    message = f"{recipe.train.batch_size} given; {fact}, and {megabytes(limit)} of memory are available; {remedy}"
    return RecipeError(recipe.source, [Problem("train.batch_size", message)])


def estimated_bytes(run: TrainingRun) -> int:
    """Estimate the memory of one training step on one rank, in bytes.

    The estimate consists of the activations that are stored for the backward pass, the weights, their gradients and two
    numbers of an optimiser for each weight. The activations are counted in a small batch. D processes real and
    generated images in its own step, and images of G in the step of G. Penalties on gradients need additional memory,
    which is not counted.
    """
    spec = run.spec
    count = max(2, spec.classes if spec.class_balanced else 2)
    condition = None if spec.condition is None else spec.condition.blank(count).to(run.device)
    with fork_rng(run.device), eval_mode(run.generator), eval_mode(run.discriminator), run.autocast():
        z = run.draw_latent(count, condition)
        of_generator, images = saved_bytes(run.generator, z, condition)
        described = spec.packed().condition
        blank = None if described is None else described.blank(count).to(run.device)
        second = z if spec.latent_pairs else blank
        inputs = images.detach().float().repeat(1, spec.pack, *[1] * (images.dim() - 2))
        of_discriminator, _ = saved_bytes(run.discriminator, inputs, second)
    activations = max(2 * of_discriminator, of_generator + of_discriminator)
    weights = sum(p.nbytes for network in run.networks.values() for p in network.parameters())
    return activations * _step_images(run.recipe, run.ranks.size) // count + 4 * weights


def saved_bytes(network: nn.Module, *inputs: Tensor | None) -> tuple[int, Tensor]:
    """Call a network, and return the bytes of the tensors that are stored for its backward pass, and its output.

    Parameters are not counted.
    """
    sizes: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(record, lambda tensor: tensor):
        output = network(*inputs)
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    return sum(size for pointer, size in sizes.items() if pointer not in own), output


@dataclass(frozen=True)
class StepMemory:
    """Memory of a training step as a linear function of the number of images."""

    base: float
    """Memory without images, in bytes."""

    step: float
    """Memory for each image, in bytes."""

    available: int | None
    """Memory that the process can still allocate on the device, in bytes. None if it is unknown."""

    def at(self, images: int) -> float:
        """Return the memory that a step with a number of images needs, in bytes, with the gaps of the allocator."""
        return HEADROOM * (self.base + self.step * images)

    def largest(self, unit: int, limit: float, below: int) -> int:
        """Return the largest number of images, `unit` times a power of two, whose step fits into `limit` bytes.

        The number is below `below`. It is 0 if no number fits.
        """
        fitting, images = 0, unit
        while images < below and self.at(images) <= limit:
            fitting, images = images, 2 * images
        return fitting


def measure_memory(run: TrainingRun, assemble: Assemble) -> StepMemory | None:
    """Measure the memory of a training step with two small batches. Return None if it cannot be measured.

    A new run is built and trained for each batch. `run` is not changed.
    """
    unit, available = unit_of(run.spec), available_memory(run.device)
    for small in (unit * math.ceil(size / unit) for size in SMALL_BATCHES):
        try:
            one, two = (
                measure_cost(assemble(with_batch(run.recipe, batch), run.device)).memory for batch in (small, 2 * small)
            )
        except (GankitError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                return None
        else:
            return StepMemory(2 * one - two, (two - one) / small, available)
    return StepMemory(math.inf, 0, available)


def fitting_settings(run: TrainingRun, limit: int, assemble: Assemble) -> str:
    """Return text that names the batch size that fits into `limit` bytes, such as `train.batch_size = 16 fits`."""
    smaller = "choose a lower resolution of the images or a smaller width of the networks"
    train, ranks, unit = run.recipe.train, run.ranks.size, unit_of(run.spec)
    if (memory := measure_memory(run, assemble)) is None:
        return f"reduce it, split the batch with train.accumulate, or {smaller}"
    images = memory.largest(unit, limit, _step_images(run.recipe, ranks))
    if not images:
        return f"no batch size fits; {smaller}"
    text = f"train.batch_size = {images * train.accumulate * ranks} fits"
    numbers = range(train.accumulate + 1, train.batch_size + 1)
    divisors = (n for n in numbers if train.batch_size % (n * unit * ranks) == 0)
    parts = next((n for n in divisors if train.batch_size // n // ranks <= images), None)
    return text if parts is None else f"{text}, and so does train.accumulate = {parts}, which keeps the whole batch"


def unit_of(spec: Spec) -> int:
    """Return the number of which the number of images in a step must be a multiple."""
    return spec.pack * (spec.classes if spec.class_balanced else 1)


def with_batch(recipe: Recipe, batch: int) -> Recipe:
    """Return a copy of a recipe with another batch size and without loggers, which would record a further run."""
    loggers = [key for key, component in recipe.components.items() if component.kind == "logger"]
    return recipe.changed([f"train.batch_size={batch}", "train.accumulate=1"], drop=loggers)
