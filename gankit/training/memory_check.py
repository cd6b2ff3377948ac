"""Check of the memory that a batch needs, before the networks are built."""

from __future__ import annotations

import math

import torch

from gankit.errors import Problem, RecipeError
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import Recipe
from gankit.runtime.device import free_memory
from gankit.runtime.memory_limit import memory_limit

FLOAT_BYTES = 4
GIB = 2**30


def least_bytes(recipe: Recipe, spec: Spec, ranks: int) -> int:
    """Return a lower bound of the memory that a D step needs on one rank, in bytes.

    The bound counts real images, generated images and z in float32. Networks, activations and gradients are not
    counted, so a step needs several times as much memory.
    """
    images = recipe.train.batch_size // recipe.train.accumulate // ranks
    return images * FLOAT_BYTES * (2 * math.prod(spec.shape) + spec.latent_size)


def check_memory(recipe: Recipe, spec: Spec, device: torch.device, ranks: int) -> None:
    """Check that a batch can fit into the memory of the device.

    Raises:
        RecipeError: the images of one step need more memory than is available.
    """
    limit = free_memory(device) or memory_limit()
    needed = least_bytes(recipe, spec, ranks)
    if limit is not None and needed > limit:
        message = (
            f"the images of one step take at least {needed / GIB:.1f} GiB, and {limit / GIB:.1f} GiB of memory are "
            "available; reduce it, or split the batch with train.accumulate"
        )
        raise RecipeError(recipe.source, [Problem("train.batch_size", message)])
