"""Layers of R3GAN's networks: residual blocks without normalisation, and bilinear resampling (Huang 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gankit import Player, Settings, Spec
from gankit_plugins.layers.dcgan import Size
from gankit_plugins.layers.residual import ResidualBlock, sizes_of

SMALLEST = 4
"""Maximum length, in pixels, of the smaller side of G's first feature map and of D's last feature map."""

SLOPE = 0.2
"""Negative slope of LeakyReLU."""

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class Architecture(Settings):
    """Settings that R3GAN's generator and discriminator have in common."""

    width: int = Field(768, ge=1, description="channels of the feature maps at the image's size; each halving doubles")
    max_width: int = Field(768, ge=1, description="largest number of channels; with `width`, all sizes have the same")
    blocks: int = Field(2, ge=1, description="residual blocks at each size")
    expansion: int = Field(2, ge=1, description="channels inside a residual block, as a multiple of those around it")
    group_size: int = Field(
        16, ge=1, description="channels of a group of the 3x3 convolutions, at most; it is lowered to a common divisor"
    )

    @model_validator(mode="after")
    def _wide_enough(self) -> Architecture:
        if self.max_width < self.width:
            raise ValueError(f"max_width = {self.max_width} must not be below width = {self.width}")
        return self


def he(layer: Layer, slope: float = 1.0) -> Layer:
    """Initialise a layer without biases with He's normal distribution, and return it.

    The variance of the weights is 2 / ((1 + slope^2) n) if each output depends on n inputs (He 2015, equation 15).
    `slope` is the negative slope of the LeakyReLU after the layer. The default 1 is for a layer without LeakyReLU.
    """
    nn.init.kaiming_normal_(layer.weight, slope)
    return layer


def fixup_scale(depth: int, layers: int) -> float:
    """Return the factor of the initial weights of a residual branch: `depth^(-1 / (2 * layers - 2))`.

    With this factor, each step of gradient descent changes the network's output by an amount that does not depend on
    `depth` (Zhang 2019, section 3).

    Args:
        depth: number of residual branches of the network, L in the paper.
        layers: number of layers of a branch, m in the paper, 2 or more.
    """
    return depth ** (-1 / (2 * layers - 2))


def residual_block(spec: Spec, player: Player, channels: int, config: Architecture, depth: int) -> nn.Module:
    """Return a residual block: a 1x1, a grouped 3x3 and a 1x1 convolution, with LeakyReLU between them.

    The first two convolutions have biases, and their initial weights are multiplied by depth^(-1/4) (Fixup). The last
    convolution has no biases, and its initial weights are 0. The block is therefore initially the identity.

    Args:
        spec: specification with the recipe's normalisation, which applies to the first two convolutions.
        player: player whose network contains the block.
        channels: number of channels of input and output.
        config: settings of the network.
        depth: number of residual blocks of the network.

    Source: Huang 2024, section 4 (configuration E); Zhang 2019 (Fixup).
    """
    inner = channels * config.expansion
    # All groups must have the same number of channels, so the group size must divide `inner`.
    groups = inner // math.gcd(inner, config.group_size)
    layers: list[nn.Module] = []
    for layer in (nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, inner, 3, padding=1, groups=groups)):
        he(layer, SLOPE).weight.data.mul_(fixup_scale(depth, layers=3))
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
        layers += [spec.normalize(player, layer, inner), nn.LeakyReLU(SLOPE)]
    last = nn.Conv2d(inner, channels, 1, bias=False)
    nn.init.zeros_(last.weight)
    return ResidualBlock(nn.Sequential(*layers, last), nn.Identity())


def pointwise(before: int, after: int) -> nn.Conv2d:
    """Return a 1x1 convolution without biases and without activation."""
    return he(nn.Conv2d(before, after, 1, bias=False))


def changed_width(before: int, after: int) -> list[nn.Module]:
    """Return a list with a 1x1 convolution from `before` to `after` channels, or an empty list if both are equal."""
    return [] if before == after else [pointwise(before, after)]


def upsampling(size: Size) -> nn.Upsample:
    """Return a layer for bilinear upsampling to the output size `size`."""
    return nn.Upsample(size, mode="bilinear")


def downsampling_matrix(size: int) -> Tensor:
    """Return the matrix (ceil(size / 2), size) that downsamples a row of pixels by 2 with the filter (1, 3, 3, 1) / 8.

    Bilinear upsampling by 2 has the same filter. At both ends, the row is extended by copies of its outermost pixel.
    """
    row = torch.arange((size + 1) // 2)
    matrix = torch.zeros(len(row), size)
    for offset, tap in zip((-1, 0, 1, 2), (1, 3, 3, 1), strict=True):
        matrix[row, (2 * row + offset).clamp(0, size - 1)] += tap / 8
    return matrix


class Downsampling(nn.Module):
    """Bilinear downsampling, which halves height and width, rounding up."""

    rows: Tensor
    columns: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        # On a CPU, matrix products are much faster than pooling or a strided convolution. On a GPU, matrix products are
        # deterministic, unlike `interpolate` with `antialias`.
        self.register_buffer("rows", downsampling_matrix(size[0]), persistent=False)
        self.register_buffer("columns", downsampling_matrix(size[1]).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Downsample feature maps x, (B, C, H, W), to (B, C, H / 2, W / 2), rounded up."""
        return self.rows @ (x @ self.columns)


def stages(spec: Spec, player: Player, config: Architecture) -> Iterator[tuple[Size, int, list[nn.Module]]]:
    """Yield the size, the number of channels and the residual blocks of each stage, starting with the image's size.

    A stage contains the residual blocks for one size of the feature maps.
    """
    sizes = sizes_of(spec, "r3gan", SMALLEST)
    for level, size in enumerate(sizes):
        channels = min(config.width * 2**level, config.max_width)
        depth = config.blocks * len(sizes)
        yield size, channels, [residual_block(spec, player, channels, config, depth) for _ in range(config.blocks)]
