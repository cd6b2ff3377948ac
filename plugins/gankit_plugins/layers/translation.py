"""Functions of the networks for image-to-image translation: a check of the data, and transposed convolutions."""

from __future__ import annotations

from torch import nn

from gankit import ImageCondition, InputError, Spec
from gankit_plugins.layers.dcgan import Size, initialized

DATA = "image_pairs, rule_pairs or unpaired"
"""Data plugins whose condition is a source image, for error messages."""


def source_channels(spec: Spec, name: str) -> int:
    """Return the number of channels of the source images.

    Args:
        spec: specification of the images.
        name: name of the plugin, for error messages.

    Raises:
        InputError: the data have no source images, or source images of another height or width than the images.
    """
    size = spec.image_size(name)
    if not isinstance(spec.condition, ImageCondition):
        raise InputError(f"{name} needs a source image for each image; choose the data {DATA}")
    if spec.condition.shape[1:] != size:
        sizes = ["x".join(map(str, one)) for one in (spec.condition.shape[1:], size)]
        raise InputError(f"{name} needs source images of the images' size, and these are {sizes[0]}, not {sizes[1]}")
    return spec.condition.shape[0]


def upsampling(before: int, after: int, kernel: int, smaller: Size, larger: Size) -> nn.ConvTranspose2d:
    """Return a transposed convolution with stride 2 and padding 1 from height and width `smaller` to `larger`."""
    height, width = (large - (2 * (small - 1) + kernel - 2) for small, large in zip(smaller, larger, strict=True))
    return initialized(nn.ConvTranspose2d(before, after, kernel, stride=2, padding=1, output_padding=(height, width)))
