"""Packs of several images as one input of D."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, RecipeInfo, Run, Settings, Spec, hookimpl

PIXELWISE = ("instance_noise",)
"""Tricks that act on single values, so they have the same effect on images and on packs."""


def packs(images: Tensor, size: int) -> Tensor:
    """Return packs of m = `size` consecutive images: from (B, C, R, R) to (B / m, m C, R, R)."""
    return images.reshape(len(images) // size, size * images.shape[1], *images.shape[2:])


def packing_order(labels: Tensor, classes: int, size: int) -> Tensor:
    """Return indices (B,) of the images, in an order in which every `size` consecutive images have the same class.

    Images of a class keep their order. The classes of the packs are 0, 1, 2, ..., 0, 1, 2, ...

    Args:
        labels: (B,) int64, with the same number of images for each class, a multiple of `size`.
        classes: N.
        size: images in a pack.
    """
    by_class = torch.argsort(labels, stable=True)
    return by_class.reshape(classes, -1, size).transpose(0, 1).flatten()


def check_divisible(recipe: RecipeInfo, multiple: int, purpose: str) -> None:
    """Raise a ValueError if the number of images in a batch, or in its parts with accumulation, is not a multiple.

    `purpose` is a noun phrase for the message.
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
    """Combines several images to one input of D, so that D detects a lack of variety.

    Source: Lin 2018 (PacGAN), section 2: the images of a pack are concatenated along the channels, and D has one output
    for all of them. With classes, a pack has images of one class and its label, and every batch has the same number of
    images of each class. Each pack has one logit, one target, one weight and one penalty.

    When to use: mode collapse: the samples are good but miss some modes of the data.
    When not: with small batches, which have few packs; together with `minibatch_discrimination` or
    `minibatch_stddev`, with which D already detects a lack of variety.
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
                f"packing comes before {', '.join(later)}, whose inputs are then packs of {self.config.size} images, "
                "which it may mix or move together; put packing last"
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
                self.recipe, size * spec.classes, f"packs of {size} of one class, equally many for {spec.classes}"
            )

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        size = self.config.size
        if labels is None:
            return packs(images, size), None
        order = packing_order(labels, run.spec.classes, size)
        return packs(images[order], size), labels[order][::size]
