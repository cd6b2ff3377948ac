"""Several datasets as one. The number of the dataset is the class of an image."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gankit import ClassCondition, Dataset, DataTable, InputError, Plugin, Settings, hookimpl, load_dataset


class Joined(Plugin):
    """Images of several datasets as one dataset. The class of an image is the dataset that it is from.

    The table `datasets` contains a name and a table with `use` and the settings of a data plugin for each dataset, such
    as `datasets = { digits = { use = "mnist" }, clothes = { use = "fashion_mnist" } }`. All samples must have the same
    shape and data type; `resolution` of most data plugins sets the size. Their own classes are not used. A conditional
    generator shares its layers between the datasets, and `gankit sample RUN --class digits` draws images of one of
    them.

    Source: none.

    When to use: for one generator that learns from several datasets.
    When not: if the datasets differ in size, and the smaller ones matter as much; set `train.class_balanced = true`.
    """

    name = "joined"
    kind = "data"

    class Config(Settings):
        datasets: Annotated[dict[str, DataTable], Field(min_length=2)] = Field(
            description="datasets by name: `use` and the settings of a data plugin for each"
        )

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        parts = {n: load_dataset(table, f"{self.name}: datasets.{n}") for n, table in self.config.datasets.items()}
        shapes = {name: part.shape for name, part in parts.items()}
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise InputError(f"datasets: the samples differ in shape: {found}; choose equal sizes and channels")

        def load() -> tuple[Tensor, Tensor]:
            images = {name: part.read().images for name, part in parts.items()}
            types = {name: str(one.dtype).removeprefix("torch.") for name, one in images.items()}
            if len(set(types.values())) > 1:
                found = ", ".join(f"{name} {one}" for name, one in types.items())
                raise InputError(f"datasets: the samples differ in data type: {found}; convert them to one type")
            counts = torch.tensor([len(one) for one in images.values()])
            return torch.cat([*images.values()]), torch.arange(len(counts)).repeat_interleave(counts)

        return Dataset(shapes[next(iter(shapes))], ClassCondition(tuple(parts)), load)
