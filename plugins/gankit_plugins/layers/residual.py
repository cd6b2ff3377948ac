"""Residual blocks that double or halve the size of feature maps, as in SNGAN's networks."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor, nn

from gankit import InputError, Player, Spec
from gankit_plugins.layers.dcgan import Size, half

SMALLEST_IMAGE = 4
"""Minimum height and width of an image, in pixels."""

WIDEST = 16
"""Maximum number of channels, as a multiple of the setting `width`.

Each halving of the feature maps' size doubles the number of channels, up to this limit.
"""

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def sizes_of(spec: Spec, owner: str, smallest: int) -> list[Size]:
    """Return the sizes of all feature maps, starting with the image. Each size is half of the previous one, rounded up.

    There is at least one halving. The last size is the first one whose smaller side is at most `smallest`.

    Args:
        spec: specification of the images.
        owner: name of the plugin, for error messages.
        smallest: maximum length, in pixels, of the smaller side of the last feature map.

    Raises:
        InputError: the data are not images, or a side of the image is below 4.
    """
    sizes = [spec.image_size(owner)]
    if (smaller := min(sizes[0])) < SMALLEST_IMAGE:
        raise InputError(
            f"images are {smaller} pixels wide or high, and {owner} needs {SMALLEST_IMAGE} or more; use mlp"
        )
    while len(sizes) < 2 or min(sizes[-1]) > smallest:
        sizes.append(half(sizes[-1]))
    return sizes


def glorot(layer: Layer, gain: float = 1.0) -> Layer:
    """Draw a layer's weights from Glorot's uniform distribution, scaled by `gain`, and set its biases to 0.

    Return the layer.
    """
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def convolution(before: int, after: int) -> nn.Conv2d:
    """Return a 3x3 convolution for a residual branch.

    The gain sqrt(2) of the initial weights compensates for ReLU, which halves the mean square of the features.
    """
    return glorot(nn.Conv2d(before, after, 3, padding=1), math.sqrt(2))


def pointwise(before: int, after: int) -> nn.Conv2d:
    """Return a 1x1 convolution for the shortcut of a residual block."""
    return glorot(nn.Conv2d(before, after, 1))


def pooling() -> nn.AvgPool2d:
    """Return average pooling that halves height and width, rounding up. For an odd side, the last window is smaller."""
    return nn.AvgPool2d(2, ceil_mode=True)


def activated(spec: Spec, player: Player, channels: int) -> nn.Sequential:
    """Return the recipe's normalisation of feature maps for `player`, followed by ReLU.

    `spec.normalize` returns its argument, a layer, followed by the normalisation. Here the argument is an identity
    layer, because the normalisation comes before the next layer.
    """
    return nn.Sequential(spec.normalize(player, nn.Identity(), channels), nn.ReLU())


class ResidualBlock(nn.Module):
    """Residual block, which adds the outputs of a residual branch and a shortcut for the same input."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual branch plus the shortcut, (B, C', H', W'), for feature maps x, (B, C, H, W)."""
        return self.residual(x) + self.shortcut(x)


def up_block(spec: Spec, before: int, after: int, size: Size) -> ResidualBlock:
    """Return a block of a generator with nearest-neighbour upsampling of feature maps to `size`.

    The recipe's normalisation and ReLU come before each 3x3 convolution. The shortcut applies
    its 1x1 convolution before the upsampling. The result is the same as after the upsampling, at a quarter of the cost.

    Source: Gulrajani 2017, appendix; Miyato 2018, appendix B.4.
    """
    residual = nn.Sequential(
        activated(spec, "generator", before),
        nn.Upsample(size),
        nn.Sequential(spec.normalize("generator", convolution(before, after), after), nn.ReLU()),
        convolution(after, after),
    )
    return ResidualBlock(residual, nn.Sequential(pointwise(before, after), nn.Upsample(size)))


def down_block(spec: Spec, before: int, after: int, halve: bool = True) -> ResidualBlock:
    """Return a block of a discriminator, with average pooling if `halve` is true.

    The recipe's normalisation and ReLU come before each 3x3 convolution. The first convolution keeps the number of
    channels, as in the authors' code. The shortcut is the identity if the block changes neither size nor channels.
    Otherwise the shortcut is a 1x1 convolution, after average pooling if `halve` is true. Pooling and this convolution
    commute, and pooling first is cheaper.

    Source: Miyato 2018, appendix B.4.
    """
    return _down_block(spec, before, before, after, halve)


def widening_block(spec: Spec, before: int, after: int, halve: bool = True) -> ResidualBlock:
    """Return a `down_block` whose first convolution changes the number of channels, instead of the second one.

    Source: Brock 2018, appendix B.
    """
    return _down_block(spec, before, after, after, halve)


def _down_block(spec: Spec, before: int, between: int, after: int, halve: bool) -> ResidualBlock:
    residual = nn.Sequential(
        activated(spec, "discriminator", before),
        nn.Sequential(spec.normalize("discriminator", convolution(before, between), between), nn.ReLU()),
        convolution(between, after),
        *([pooling()] if halve else []),
    )
    if not halve and before == after:
        return ResidualBlock(residual, nn.Identity())
    return ResidualBlock(residual, nn.Sequential(*([pooling()] if halve else []), pointwise(before, after)))


def first_block(before: int, after: int) -> ResidualBlock:
    """Return the first block of a discriminator. It halves the height and the width of the image.

    The block has no normalisation, and no ReLU at the input, because ReLU would set all negative pixel values to 0.

    Source: Gulrajani 2017, appendix; Miyato 2018, appendix B.4.
    """
    residual = nn.Sequential(convolution(before, after), nn.ReLU(), convolution(after, after), pooling())
    return ResidualBlock(residual, nn.Sequential(pooling(), pointwise(before, after)))
