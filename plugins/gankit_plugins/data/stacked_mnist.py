"""MNIST digits stacked as the channels of colour images: a thousand modes that can be counted."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Dataset, Plugin, hookimpl
from gankit_plugins.data.idx_collection import IdxSettings
from gankit_plugins.data.mnist import MNIST

STACKED = 3


def stacked(images: Tensor, labels: Tensor, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` images of three grey ones each, drawn at random, and the number that their labels spell.

    Args:
        images: (N, 1, R, R) uint8.
        labels: (N,) in [0, classes).
        count, seed: how many, and of the drawing.
        classes: K.

    Returns (count, 3, R, R) and (count,) in [0, K^3): labels a, b, c make (a K + b) K + c.
    """
    index = torch.randint(len(images), (count, STACKED), generator=torch.Generator().manual_seed(seed))
    spelt = labels[index] @ torch.tensor([classes**2, classes, 1])
    return images[index].squeeze(2), spelt


class StackedMnist(Plugin):
    """MNIST digits in the three channels of colour images: 1,000 kinds, to count which of them a generator covers.

    Source: Metz 2016, section 3.3.1; Srivastava 2017, section 4.2; Lin 2018, section 4.1. The drawing depends on the
    data's seed alone. What is seen is told by `extractor.use = "classifier"` with `by_channel = true` and the measure
    `modes`, by which a kind is covered if one image is of it; of 26,000 images in the last two papers, so
    `evaluation.count = 26000`.

    When to use: to see mode collapse on images.
    When not: with `class_balanced`, or networks with a branch for each class: there are a thousand.
    """

    name = "stacked_mnist"
    kind = "data"

    class Config(IdxSettings):
        count: int = Field(60_000, ge=1, le=1_000_000, description="stacked images in all")
        seed: int = Field(0, ge=0, lt=2**63, description="of the drawing; the run's seed does not change it")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        digits = MNIST.dataset(self.config)
        names = digits.class_names

        def load() -> tuple[Tensor, Tensor]:
            images, labels = digits.load()
            assert labels is not None, "MNIST has labels"
            return stacked(images, labels, self.config.count, len(names), self.config.seed)

        spelt = tuple(a + b + c for a in names for b in names for c in names)
        return Dataset(STACKED, digits.resolution, spelt, load)
