"""Packing, which combines several images into one input of D."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, RecipeInfo, Run, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import refuse_texts_and_images

PIXELWISE = ("instance_noise",)
"""Names of tricks that act on each pixel separately. These tricks may be applied before or after packing."""


def packs(images: Tensor, size: int) -> Tensor:
    """Concatenate every m = `size` consecutive images along the channels: from (B, C, H, W) to (B / m, m C, H, W).

    Condition vectors (B, K) become (B / m, m K).
    """
    return images.reshape(len(images) // size, size * images.shape[1], *images.shape[2:])


def packing_order(labels: Tensor, classes: int, size: int) -> Tensor:
    """Return indices (B,) that sort the images into packs: every `size` consecutive images have the same class.

    Images of the same class keep their order. The classes of consecutive packs are 0, 1, 2, ..., 0, 1, 2, ...

    Args:
        labels: labels (B,) int64. Each class has the same number of images, a multiple of `size`.
        classes: number of classes.
        size: number of images in a pack.
    """
    by_class = torch.argsort(labels, stable=True)
    return by_class.reshape(classes, -1, size).transpose(0, 1).flatten()


def check_divisible(recipe: RecipeInfo, multiple: int, purpose: str) -> None:
    """Raise a ValueError unless `train.batch_size` is a multiple of `multiple` times `train.accumulate`.

    `purpose` describes the parts of a batch in the error message, for example "packs of 2".
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
    """Packs of several images as inputs of D, so that D detects a lack of variety.

    Source: Lin 2018 (PacGAN), section 2. The images of a pack are concatenated along the channels, and D has one output
    for the whole pack. Condition vectors, such as attributes, are concatenated too. With classes, all images of a pack
    have the same class, and every batch has the same number of images of each class. Each pack has one logit, one
    target, one weight and one penalty.

    When to use: against mode collapse, that is, if the samples are good but miss some modes of the data.
    When not: with small batches, which have few packs. Also not with `minibatch_discrimination` or `minibatch_stddev`,
    because D then already detects a lack of variety.
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
        refuse_texts_and_images(spec, self.name)
        spec.pack = size
        if spec.classes:
            spec.class_balanced = True
            check_divisible(
                self.recipe, size * spec.classes, f"packs of {size} of one class, equally many for {spec.classes}"
            )

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        size = self.config.size
        if condition is None or not run.spec.classes:
            return packs(images, size), None if condition is None else packs(condition, size)
        order = packing_order(condition, run.spec.classes, size)
        return packs(images[order], size), condition[order][::size]
