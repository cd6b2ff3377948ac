"""Several images judged as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run, Spec


PIXELWISE = ("instance_noise",)
"""What does to every number alike, whether it belongs to an image or to a pack."""


def packs(images: Tensor, size: int) -> Tensor:
    """`size` images after one another as one, side by side along the channels.

    Args:
        images: (B, C, R, R), B a multiple of `size`.
        size: m, images in a pack.

    Returns:
        (B / m, m C, R, R). Pack i holds the images i m, ..., i m + m - 1 in this order.
    """
    return images.reshape(len(images) // size, size * images.shape[1], *images.shape[2:])


def packing_order(labels: Tensor, classes: int, size: int) -> Tensor:
    """An order of the images in which each `size` after one another are of one class.

    Images of a class keep their order, and the packs' classes run 0, 1, 2, ..., 0, 1, 2, ... as the images' do.

    Args:
        labels: (B,) int64, equally many of each class, and of each a multiple of `size`.
        classes: N.
        size: m, images in a pack.

    Returns:
        (B,) int64, indices into the images.
    """
    by_class = torch.argsort(labels, stable=True)
    return by_class.reshape(classes, -1, size).transpose(0, 1).flatten()


def refuse_a_rest(recipe: RecipeInfo, multiple: int, what: str) -> None:
    """Raises ValueError unless what D is given at once, a batch or a part of it, is a multiple of some number.

    Args:
        recipe: its `[train]` table is looked at.
        multiple: the number.
        what: is to be made of the images, for the sentence.
    """
    train = recipe.train
    whole = multiple * train.accumulate
    if train.batch_size % whole:
        parts = f" in each of {train.accumulate} parts" if train.accumulate > 1 else ""
        raise ValueError(
            f"train.batch_size = {train.batch_size} does not make {what}{parts} without a rest; it must be a multiple "
            f"of {whole}: {(train.batch_size // whole + 1) * whole}, for instance"
        )


class Packing(Plugin):
    """Lets D judge several images as one, so that fakes alike stand out where real images are not.

    Source: Lin 2018 (PacGAN), section 2: the images of a pack lie side by side along the channels of D's first
    layer, and one answer is given for all of them. With classes, a pack is of one class, whose label it bears, and
    every batch holds equally many images of each. The batch has as many answers as packs; targets, weights and
    penalties are each pack's.

    When to use: mode collapse: a few modes of the data are missing among the samples, which are good one by one.
    When not: with small batches, which leave D few packs; where `minibatch_discrimination` or
    `minibatch_stddev` already shows D how alike the batch's images are.
    """

    name = "packing"

    class Config(Settings):
        size: int = Field(2, ge=2, description="images in a pack")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        self.recipe = recipe
        refuse_a_rest(recipe, self.config.size, f"packs of {self.config.size}")
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
                f"stands before {', '.join(later)}, which will be given packs, {self.config.size} images in the "
                "channels of one, and may mix or move them together; put packing last"
            )

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        size = self.config.size
        if spec.pack != 1:
            raise ValueError("the images are in packs already; keep one packing, with a larger size if need be")
        spec.pack = size
        if spec.classes:
            spec.class_balanced = True
            refuse_a_rest(
                self.recipe, size * spec.classes, f"packs of {size} of one class, as many for each of {spec.classes}"
            )

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        size = self.config.size
        if labels is None:
            return packs(images, size), None
        order = packing_order(labels, run.spec.classes, size)
        return packs(images[order], size), labels[order][::size]
