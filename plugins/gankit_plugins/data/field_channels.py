"""Images together with one of their fields, such as masks, as samples with a further channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL.Image import Image
from pydantic import Field
from torch import Tensor

from gankit import (
    Dataset,
    DataTable,
    InputError,
    Plugin,
    Settings,
    hookimpl,
    load_dataset,
    sample_grid,
    to_bytes,
    to_image,
)


def as_channel(field: Tensor, maximum: float) -> Tensor:
    """Return a field (N, H, W) or (N, 1, H, W) as a channel (N, 1, H, W) uint8.

    The values 0 to `maximum` become 0 to 255, rounded.

    Raises:
        InputError: the field has another shape, or values outside [0, maximum].
    """
    channel = field[:, None] if field.dim() == 3 else field
    if channel.dim() != 4 or channel.shape[1] != 1:
        raise InputError(f"field: its shape is {tuple(field.shape)}; it must be (N, H, W) or (N, 1, H, W)")
    low, high = channel.min().item(), channel.max().item()
    if not 0 <= low <= high <= maximum:
        raise InputError(f"maximum: {maximum:g} given, and the field has values from {low:g} to {high:g}; change it")
    return (channel.double() * (255 / maximum)).round().to(torch.uint8)


def split_field(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images (N, C, H, W) and the fields (N, 1, H, W) of samples (N, C + 1, H, W)."""
    return samples[:, :-1], samples[:, -1:]


class FieldChannels(Plugin):
    """Images of another dataset with one of their fields, such as masks or depth, as the last channel.

    The generator draws an image and its field at once, with shared layers up to the last one, and the discriminator
    sees the pair. The table `images` selects the other dataset, such as `images = { use = "captioned_shapes" }`, and
    `field` is the name of its field: one number for each pixel, from 0 to `maximum`. A condition of the other dataset
    is not used. In pictures, each image is to the left of its field. `gankit sample RUN --out FOLDER` writes two PNG
    files for each sample, such as `0000.png` and `0000_mask.png`.

    Source: none. Zhang 2021 (DatasetGAN) and Li 2021 (semanticGAN) also generate images with masks.

    When to use: for images with masks or depth, for example to train a segmentation network with generated pairs.
    When not: with augmentations of colour, which would change the field too; geometric ones act on both alike.
    """

    name = "field_channels"
    kind = "data"

    class Config(Settings):
        images: DataTable = Field(description="dataset of the images: `use` and the settings of a data plugin")
        field: str = Field("mask", description="name of the field of the dataset, such as mask or depth")
        maximum: float = Field(1.0, gt=0, description="value of the field that is shown in white; 0 is black")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        dataset, field = load_dataset(self.config.images, f"{self.name}: images"), self.config.field
        if field not in dataset.fields:
            there = ", ".join(dataset.fields) or "none"
            raise InputError(
                f"field: the data have no field {field!r}; fields: {there}; choose another dataset or field"
            )
        if len(dataset.shape) != 3 or dataset.channels not in (1, 3):
            raise InputError(f"images: the samples are {dataset.shape}; they must be grey or colour images")

        def load() -> tuple[Tensor, None]:
            rows = dataset.read()
            if rows.images.dtype != torch.uint8:
                raise InputError(f"images: the images are {rows.images.dtype}; convert them to 8 bits")
            channel = as_channel(rows.fields[field], self.config.maximum)
            if channel.shape[2:] != rows.images.shape[2:]:
                sizes = " and ".join("x".join(map(str, one.shape[2:])) for one in (rows.images, channel))
                raise InputError(f"field: the images and the field {field!r} differ in size: {sizes}")
            return torch.cat([rows.images, channel], 1), None

        shape = (dataset.channels + 1, *dataset.shape[1:])
        return replace(dataset, shape=shape, condition=None, load=load, stream=None, fields=(), inspect=None)

    @hookimpl
    def draw_samples(self, images: Tensor, columns: int, row_names: Sequence[str]) -> Image:
        pictures, fields = split_field(images)
        pairs = torch.stack([pictures, fields.expand_as(pictures)], 1).flatten(0, 1)
        return sample_grid(pairs, 2 * columns, row_names)

    @hookimpl
    def save_samples(self, samples: Tensor, names: Sequence[str], folder: Path) -> list[Path]:
        paths = []
        for name, image, field in zip(names, *split_field(to_bytes(samples)), strict=True):
            for part, path in ((image, folder / f"{name}.png"), (field, folder / f"{name}_{self.config.field}.png")):
                to_image(part).save(path)
                paths.append(path)
        return paths
