"""Packs of several images as one input of D."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, RecipeInfo, Run, Settings, Spec, hookimpl

PIXELWISE = ("instance_noise",)
"""Tricks that act on single values, and so equally on images and packs."""


def packs(images: Tensor, size: int) -> Tensor:
    """Return packs of `size` consecutive images, concatenated along the channels.

    Args:
        images: (B, C, R, R), B a multiple of `size`.
        size: m, images in a pack.

    Returns:
        (B / m, m C, R, R). Pack i holds the images i m, ..., i m + m - 1 in this order.
    """
    return images.reshape(len(images) // size, size * images.shape[1], *images.shape[2:])


def packing_order(labels: Tensor, classes: int, size: int) -> Tensor:
    """Return an order of the images in which every `size` consecutive images have the same class.

    Images of a class keep their order. The classes of the packs are 0, 1, 2, ..., 0, 1, 2, ..., like those of images.

    Args:
        labels: (B,) int64, equally many of each class, and of each a multiple of `size`.
        classes: N.
        size: m, images in a pack.

    Returns:
        (B,) int64, indices of images.
    """
    by_class = torch.argsort(labels, stable=True)
    return by_class.reshape(classes, -1, size).transpose(0, 1).flatten()


def check_divisible(recipe: RecipeInfo, multiple: int, purpose: str) -> None:
    """Check that a batch, or a part of it with gradient accumulation, has a multiple of some number of images.

    Args:
        recipe: recipe with the `[train]` table.
        multiple: the number.
        purpose: noun phrase for the message.

    Raises:
        ValueError: it has not.
    """
    train = recipe.train
    whole = multiple * train.accumulate
    if train.batch_size % whole:
        parts = f" in each of {train.accumulate} parts" if train.accumulate > 1 else ""
        raise ValueError(
            f"train.batch_size = {train.batch_size} cannot be split into {purpose}{parts}; it must be a multiple of "
            f"{whole}, for example {(train.batch_size // whole + 1) * whole}"
        )


class Packing(Plugin):
    """Gives D several images as one input, so that D detects a lack of variety.

    Source: Lin 2018 (PacGAN), section 2: the images of a pack are concatenated along the channels of D's first layer,
    and D has one output for all of them. With classes, a pack has images of one class and its label, and every batch
    has equally many images of each class. The number of logits is the number of packs. Targets, weights and penalties
    belong to packs.

    When to use: mode collapse: the samples are good but miss some modes of the data.
    When not: with small batches, which give D few packs; together with `minibatch_discrimination` or
    `minibatch_stddev`, which already give D the variation within the batch.
    """

    name = "packing"

    class Config(Settings):
        size: int = Field(2, ge=2, description="images in a pack")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        self.recipe = recipe
        check_divisible(recipe, self.config.size, f"packs of {self.config.size}")
        keys = list(recipe.components)
        own = next(key for key in keys if recipe.components[key].plugin_class is type(self))
        later = [
            key.removeprefix("tricks.")
            for key in keys[keys.index(own) + 1 :]
            if hasattr(recipe.components[key].plugin_class, "discriminator_inputs")
            and recipe.components[key].plugin_class.name not in PIXELWISE
        ]
        if later:
            yield (
                f"packing comes before {', '.join(later)}, whose input are then packs, {self.config.size} images in "
                "the channels of one, which it may mix or move together; put packing last"
            )

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        size = self.config.size
        if spec.pack != 1:
            raise ValueError("the images are packed twice; keep one packing, with a larger size if necessary")
        spec.pack = size
        if spec.classes:
            spec.class_balanced = True
            check_divisible(
                self.recipe, size * spec.classes, f"packs of {size} of one class, as many for each of {spec.classes}"
            )

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        size = self.config.size
        if labels is None:
            return packs(images, size), None
        order = packing_order(labels, run.spec.classes, size)
        return packs(images[order], size), labels[order][::size]
