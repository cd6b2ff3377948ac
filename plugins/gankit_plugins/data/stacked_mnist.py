"""The Stacked MNIST dataset: colour images with a digit in each channel. The dataset has 10^3 = 1,000 modes."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import ClassCondition, Dataset, Plugin, hookimpl
from gankit_plugins.data.idx_collection import IdxSettings
from gankit_plugins.data.mnist import MNIST

CHANNELS = 3


def stack(images: Tensor, labels: Tensor, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Stack random triples of grey images as the channels of colour images, and combine their labels.

    Args:
        images: grey images, (N, 1, H, W) uint8.
        labels: labels of the grey images, (N,), in [0, K).
        count: number of stacked images.
        classes: K, number of classes of the grey images.
        seed: random seed.

    Returns:
        Images (count, 3, H, W), and labels (count,) in [0, K^3). Channels with the labels `i`, `j` and `k` give the
        label `(i K + j) K + k`.
    """
    index = torch.randint(len(images), (count, CHANNELS), generator=torch.Generator().manual_seed(seed))
    stacked_labels = labels[index] @ torch.tensor([classes**2, classes, 1])
    return images[index].squeeze(2), stacked_labels


class StackedMnist(Plugin):
    """Colour images with an MNIST digit in each channel, to test how many of 1,000 modes a generator covers.

    The setting `seed` of this plugin determines which digits are stacked, independently of the run's seed. To count
    modes, use `extractor.use = "classifier"` with `by_channel = true`, and the metric `modes`. A mode is a combination
    of three digits. It is covered if at least one generated image belongs to it. Srivastava 2017 and Lin 2018 evaluate
    26,000 images. To evaluate the same number, set `evaluation.count = 26000`.

    Source: Metz 2016, section 3.3.1; Srivastava 2017, section 4.2; Lin 2018, section 4.1.

    When to use: to measure mode collapse on images.
    When not: with `train.class_balanced`, or with networks that have a branch for each class, because the data has
    1,000 classes.
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
            images, labels, _ = digits.read()
            assert labels is not None, "MNIST has labels"
            return stack(images, labels, self.config.count, len(names), self.config.seed)

        class_names = tuple(a + b + c for a in names for b in names for c in names)
        return Dataset((CHANNELS, *digits.shape[1:]), ClassCondition(class_names), load)
