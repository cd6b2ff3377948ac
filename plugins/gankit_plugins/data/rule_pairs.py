"""Pairs for image-to-image translation, whose source images are made from the images of another dataset by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field
from torch import Tensor

from gankit import Dataset, DataTable, ImageCondition, InputError, Plugin, Settings, hookimpl, load_dataset
from gankit_plugins.data.shapes import grey

CHUNK = 1000
"""Number of images whose source images are made together. A small number limits the memory use."""

LARGEST_GRADIENT = 4.0
"""Largest absolute value of Sobel's filter for pixels in [0, 1]: the sum of its positive weights."""


def from_images(table: Any) -> Any:
    """Return the table of another dataset, with the data plugin `images` if the table does not name a plugin.

    The plugin `images` gets `classes = false`, so that images may lie in any subfolders.
    """
    if not isinstance(table, dict) or table.get("use", "images") != "images":
        return table
    return {"use": "images", "classes": False, **table}


OtherData = Annotated[DataTable, BeforeValidator(from_images)]
"""Type of a setting that selects another dataset: settings of the data plugin `use`, by default of `images`."""


def colourless(images: Tensor) -> Tensor:
    """Convert images (N, C, H, W) uint8 to grey, (N, 1, H, W). Grey images are returned unchanged."""
    return images if images.shape[1] == 1 else grey(images[:, :3])


def edges(images: Tensor, threshold: float) -> Tensor:
    """Return the edges of images (N, C, H, W) uint8 as white lines on black, (N, 1, H, W) uint8.

    A pixel is white if the length of the gradient of the brightness exceeds `threshold`. The gradient is computed with
    Sobel's filter. It is 1 for a step from black to white that is parallel to an axis.

    Source: Sobel and Feldman 1968.
    """
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    filters = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth])[:, None]
    brightness = F.pad(colourless(images).float() / 255, (1, 1, 1, 1), mode="replicate")
    gradient = F.conv2d(brightness, filters / LARGEST_GRADIENT).norm(dim=1, keepdim=True)
    return (gradient > threshold).to(torch.uint8) * 255


def coarse(images: Tensor, factor: int) -> Tensor:
    """Return images (N, C, H, W) uint8 as blocks of `factor` x `factor` pixels that have the mean of these pixels.

    If a side is not a multiple of `factor`, the blocks are as equal in size as possible.
    """
    height, width = images.shape[2:]
    blocks = F.adaptive_avg_pool2d(images.float(), (-(-height // factor), -(-width // factor)))
    return F.interpolate(blocks, (height, width)).round().to(torch.uint8)


class RulePairs(Plugin):
    """Pairs of a source image and an image of any other dataset. A rule makes the source image from the image.

    The table `images` selects the other dataset and its settings, such as `images = { use = "mnist" }`. The default for
    `use` is the plugin `images`, so `images.path=FOLDER` suffices for images in a folder. The classes of the images are
    not used. The rules are `edges` (white lines on black), `grey` and `coarse` (blocks of pixels with their mean, for
    higher resolution). The source images have the size of the images.

    Source: Isola 2017, section 4: edges to photos, and grey to colour. The paper detects edges with a network, and
    here Sobel's filter detects them.

    When to use: for image-to-image translation, if only one image of each pair exists.
    When not: if both images of each pair exist; use `image_pairs`.
    """

    name = "rule_pairs"
    kind = "data"

    class Config(Settings):
        images: OtherData = Field(description="dataset of the images: `use` and the settings of a data plugin")
        rule: Literal["edges", "grey", "coarse"] = Field(description="rule that makes a source image from an image")
        threshold: float = Field(
            0.25, gt=0, lt=1, description="for edges: smallest step of the brightness; 1 is from black to white"
        )
        factor: int = Field(4, ge=2, description="for coarse: side of a block of pixels")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        dataset = load_dataset(self.config.images, f"{self.name}: images")
        if len(dataset.shape) != 3 or (self.config.rule == "grey" and dataset.channels == 1):
            need = "colour images" if self.config.rule == "grey" else "images"
            raise InputError(f"rule: {self.config.rule} needs {need}, and the samples are {dataset.shape}; change one")
        shape = dataset.shape if self.config.rule == "coarse" else (1, *dataset.shape[1:])

        def load() -> Any:
            rows = dataset.read()
            return rows.images, self.sources(rows.images), rows.fields

        def stream() -> Iterator[Any]:
            for rows in dataset.read_chunks():
                yield rows.images, self.sources(rows.images), rows.fields

        return replace(
            dataset, condition=ImageCondition(shape), load=load, stream=None if dataset.stream is None else stream
        )

    def sources(self, images: Tensor) -> Tensor:
        """Return the source images of images (N, C, H, W) uint8.

        Raises:
            InputError: the images have more than 8 bits.
        """
        if images.dtype != torch.uint8:
            raise InputError(f"{self.name} needs images with 8 bits, and these are {images.dtype}; convert them")
        rules: dict[str, Callable[[Tensor], Tensor]] = {
            "edges": partial(edges, threshold=self.config.threshold),
            "grey": colourless,
            "coarse": partial(coarse, factor=self.config.factor),
        }
        return torch.cat([rules[self.config.rule](chunk) for chunk in images.split(CHUNK)])
