"""Dataset Stacked MNIST: digits stacked as the channels of colour images, with 1,000 countable modes."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Dataset, Plugin, hookimpl
from gankit_plugins.data.idx_collection import IdxSettings
from gankit_plugins.data.mnist import MNIST

CHANNELS = 3


def stack(images: Tensor, labels: Tensor, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images (count, 3, R, R) of three random grey images each, and labels (count,) in [0, K^3).

    The labels a, b, c of the channels give the label (a K + b) K + c.

    Args:
        images: (N, 1, R, R) uint8.
        labels: (N,) in [0, K).
        count: the number of stacked images.
        classes: K.
        seed: the random seed.
    """
    index = torch.randint(len(images), (count, CHANNELS), generator=torch.Generator().manual_seed(seed))
    stacked_labels = labels[index] @ torch.tensor([classes**2, classes, 1])
    return images[index].squeeze(2), stacked_labels


class StackedMnist(Plugin):
    """MNIST digits in the three channels of colour images, to count how many of 1,000 modes a generator covers.

    The images depend on this plugin's seed only. To count modes, use `extractor.use = "classifier"` with
    `by_channel = true`, and the metric `modes`: a mode is covered by one image. The last two papers generate 26,000
    images: `evaluation.count = 26000`.

    Source: Metz 2016, section 3.3.1; Srivastava 2017, section 4.2; Lin 2018, section 4.1.

    When to use: to measure mode collapse on images.
    When not: with `class_balanced`, or networks with a branch for each class: there are 1,000.
    """

    name = "stacked_mnist"
    kind = "data"

    class Config(IdxSettings):
        count: int = Field(60_000, ge=1, le=1_000_000, description="number of stacked images")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the images; independent of the run's seed")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        digits = MNIST.dataset(self.config)
        names = digits.class_names

        def load() -> tuple[Tensor, Tensor]:
            images, labels = digits.load()
            assert labels is not None, "MNIST has labels"
            return stack(images, labels, self.config.count, len(names), self.config.seed)

        class_names = tuple(a + b + c for a in names for b in names for c in names)
        return Dataset(CHANNELS, digits.resolution, class_names, load)
