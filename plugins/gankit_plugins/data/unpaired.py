"""Two datasets without pairs, for image-to-image translation with CycleGAN."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Dataset, ImageCondition, InputError, Plugin, Settings, hookimpl, load_dataset
from gankit_plugins.data.rule_pairs import OtherData


def shuffled(count: int, total: int, generator: torch.Generator) -> Tensor:
    """Return `total` indices below `count` in random order. Each index occurs equally often, up to one time."""
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-total // count))]
    return torch.cat(orders)[:total]


class Unpaired(Plugin):
    """Two datasets as the two domains of an image-to-image translation. Their images form no pairs.

    Each of the tables `source` and `target` selects a dataset and its settings, such as `source = { use = "cifar10",
    classes = [7] }`. The default for `use` is the plugin `images`, so `source.path=FOLDER target.path=FOLDER` suffices
    for two folders. The condition of an image of `target` is a random image of `source`. The images of the smaller
    dataset are repeated, so that all images of both are used. Classes of the images are not used.

    Source: Zhu 2017, section 3.

    When to use: with the trick `cycle_consistency`.
    When not: if the images form pairs, which teach more; use `image_pairs` or `rule_pairs`.
    """

    name = "unpaired"
    kind = "data"

    class Config(Settings):
        source: OtherData = Field(description="dataset to translate from: `use` and the settings of a data plugin")
        target: OtherData = Field(description="dataset to translate to: `use` and the settings of a data plugin")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the order of the images")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        source, target = (
            load_dataset(table, f"{self.name}: {name}")
            for name, table in (("source", self.config.source), ("target", self.config.target))
        )
        if len(source.shape) != 3 or source.shape != target.shape:
            raise InputError(
                f"the samples of source are {source.shape}, and those of target {target.shape}; both must be images "
                "of one size and number of channels"
            )

        def load() -> tuple[Tensor, Tensor]:
            sources, targets = source.read().images, target.read().images
            total = max(len(sources), len(targets))
            generator = torch.Generator().manual_seed(self.config.seed)
            order, source_order = (shuffled(len(images), total, generator) for images in (targets, sources))
            return targets[order], sources[source_order]

        return Dataset(target.shape, ImageCondition(source.shape), load, contents=target.contents)
