"""Dataset in which only a few images have a label, for semi-supervised training."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from gankit import ClassCondition, Dataset, DataTable, InputError, Plugin, Settings, hookimpl, load_dataset
from gankit_plugins.layers.class_logits import CLASSES, LABEL, UNLABELLED


def hide_labels(labels: Tensor, classes: int, count: int, generator: torch.Generator) -> Tensor:
    """Return the labels (N,) with `UNLABELLED` in place of all but `count` random labels, equally many of each class.

    Raises:
        InputError: `count` is not a multiple of `classes`, or a class has too few images.
    """
    each, rest = divmod(count, classes)
    if rest:
        raise InputError(f"labels: {count} given; with {classes} classes, it must be a multiple of {classes}")
    kept = torch.full_like(labels, UNLABELLED)
    for label in range(classes):
        members = (labels == label).nonzero()[:, 0]
        if len(members) < each:
            raise InputError(
                f"labels: {count} given, which needs {each} images of each class, and class {label} has "
                f"{len(members)}; give at most {len(members) * classes}"
            )
        kept[members[torch.randperm(len(members), generator=generator)[:each]]] = label
    return kept


class FewLabels(Plugin):
    """Images of another dataset, of which only a few keep their label. All images are used without their label too.

    The table `images` selects the other dataset and its settings, such as `images = { use = "mnist" }`. The dataset has
    no condition. The field `label` contains the class of the labelled images, and -1 for the others. Each class has the
    same number of labelled images. They are drawn with `seed`, so two datasets with the same settings have the same
    labels.

    Source: Salimans 2016, section 5: random subsets with equally many labelled images of each class.

    When to use: with the trick `semi_supervised`.
    When not: for a generator with a class as its condition, which needs all labels.
    """

    name = "few_labels"
    kind = "data"

    class Config(Settings):
        images: DataTable = Field(description="dataset of the images with classes: `use` and its settings")
        labels: int = Field(100, ge=1, description="number of labelled images; a multiple of the number of classes")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the choice of the labelled images")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        dataset = load_dataset(self.config.images, f"{self.name}: images")
        if not isinstance(dataset.condition, ClassCondition):
            raise InputError("images: the data have no classes, so there are no labels; choose data with classes")
        names = dataset.class_names

        def load() -> tuple[Tensor, None, dict[str, Tensor]]:
            rows = dataset.read()
            assert rows.condition is not None, "data with classes have labels"
            generator = torch.Generator().manual_seed(self.config.seed)
            kept = hide_labels(rows.condition, len(names), self.config.labels, generator)
            return rows.images, None, {**rows.fields, LABEL: kept}

        return replace(
            dataset,
            condition=None,
            load=load,
            stream=None,
            fields=(*dataset.fields, LABEL),
            encoding={**dataset.encoding, CLASSES: list(names)},
        )
