"""TGAN's generator: a temporal generator of latent vectors, and an image generator for the frames (Saito 2017)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, optional_numbers
from gankit_plugins.layers.vgan import sizes_of

WIDEST = 16
"""Largest number of channels of a feature map of G1, as a multiple of the setting `width`."""


def doubled_lengths(frames: int) -> list[int]:
    """Return lengths from 1 to `frames`. Each is twice the previous one, or one more: 1, 2, 4, 8, 16 for 16."""
    lengths = [frames]
    while lengths[0] > 1:
        lengths.insert(0, lengths[0] // 2)
    return lengths


class TemporalGenerator(nn.Module):
    """Network G0 that maps z0 to a latent vector z1 for each frame, with transposed convolutions in time.

    Args:
        spec: specification of the clips and of the normalisation.
        size: size of the input, which consists of z0 and the numbers of the condition.
        width: number of channels of the last two hidden layers. The first layer has at most 4 times as many.
        motion: size of z1.
    """

    def __init__(self, spec: Spec, size: int, width: int, motion: int) -> None:
        super().__init__()
        lengths = doubled_lengths(spec.shape[1])
        channels = [width * min(4, max(1, 2 ** (level - 1))) for level in reversed(range(len(lengths) - 1))]
        first = nn.ConvTranspose1d(size, channels[0], 1)
        layers = [nn.Sequential(spec.normalize("generator", first, channels[0]), nn.ReLU())]
        for before, after, length in zip(channels, channels[1:], lengths[1:], strict=False):
            layer = self._doubling(before, after, length)
            layers.append(nn.Sequential(spec.normalize("generator", layer, after), nn.ReLU()))
        self.layers = nn.Sequential(*layers, self._doubling(channels[-1], motion, lengths[-1]), nn.Tanh())

    @staticmethod
    def _doubling(before: int, after: int, length: int) -> nn.ConvTranspose1d:
        return nn.ConvTranspose1d(before, after, 4, 2, 1, output_padding=length % 2)

    def forward(self, z: Tensor) -> Tensor:
        """Return z1 in [-1, 1], (B, motion, T), for inputs (B, size)."""
        return self.layers(z[:, :, None])


class TganGenerator(nn.Module):
    """Temporal generator G0 and image generator G1. G1 maps z0 and the z1 of a frame to this frame."""

    def __init__(self, spec: Spec, width: int, motion: int) -> None:
        super().__init__()
        self.numbers = optional_numbers(spec, "tgan")
        sizes = [size[1:] for size in sizes_of(spec, "tgan")]
        channels = [width * min(2**level, WIDEST) for level in range(len(sizes))]
        size = spec.latent_size + self.numbers
        self.temporal = TemporalGenerator(spec, size, 4 * width, motion)
        half = channels[-1] // 2
        self.content = self._linear(spec, size, half, sizes[-1])
        self.motion = self._linear(spec, motion, half, sizes[-1])
        layers, before = [], 2 * half
        for level in range(len(sizes) - 2, -1, -1):
            (height, columns), after = sizes[level], channels[level]
            layer = nn.ConvTranspose2d(before, after, 4, 2, 1, output_padding=(height % 2, columns % 2))
            layers.append(nn.Sequential(spec.normalize("generator", layer, after), nn.ReLU()))
            before = after
        self.body = nn.Sequential(*layers)
        self.to_frame = nn.Sequential(nn.Conv2d(before, spec.channels, 3, padding=1), nn.Tanh())

    @staticmethod
    def _linear(spec: Spec, inputs: int, channels: int, size: tuple[int, int]) -> nn.Module:
        """Return a layer from vectors to feature maps (channels, *size)."""
        features = channels * math.prod(size)
        layer = spec.normalize("generator", nn.Linear(inputs, features), features)
        return nn.Sequential(layer, nn.ReLU(), nn.Unflatten(1, (channels, *size)))

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate clips (B, C, T, H, W) in [-1, 1] from z0 (B, latent_size) and labels (B,) or vectors (B, N)."""
        if self.numbers:
            assert condition is not None, "a conditional generator needs a condition"
            z = torch.cat([z, numbers_of(condition, self.numbers).to(z.dtype)], dim=1)
        z1 = self.temporal(z)
        B, _, T = z1.shape
        content, motion = self.content(z), self.motion(z1.transpose(1, 2).flatten(0, 1))
        maps = torch.cat([content.repeat_interleave(T, 0), motion], dim=1)
        frames = self.to_frame(self.body(maps))
        return frames.unflatten(0, (B, T)).transpose(1, 2)


class Tgan(Plugin):
    """TGAN's generator: G0 maps z0 to a latent vector for each frame, and G1 maps z0 and this vector to the frame.

    Source: Saito 2017, section 3 and table 1. G0 consists of transposed convolutions in time. For 16 frames and `width`
    32, its feature maps have 512, 256, 128 and 128 channels, and z1 of each frame has 100 numbers in [-1, 1]. G1
    consists of linear layers from z0 and from z1 to 256 feature maps of 4x4 each, and transposed convolutions with 256,
    128, 64 and 32 channels for frames of 64x64. A 3x3 convolution and tanh follow. The setting
    `normalization.generator` applies to every layer except the last of G0 and G1 (paper: batch norm). The paper's prior
    is `uniform`. The initial weights are PyTorch's default. The paper clips the singular values of D; here, use the
    normalisation `spectral_norm`, or the trick `weight_clipping` as in the paper's first experiments.

    Here clips may have any number of frames of at least 4x4 pixels, whose sides are halved and rounded down. If the
    data have classes or numbers as the condition, they are appended to z0; a class is a one-hot vector.

    When to use: for clips whose content stays the same while it moves, with the discriminator `vgan`.
    When not: for images; use `dcgan`. For clips whose whole frame changes at once, compare with `vgan`.
    """

    name = "tgan"
    kind = "generator"
    mixes_classes = True

    class Config(Settings):
        width: int = Field(32, ge=1, description="channels of the last feature map before the frame")
        motion: int = Field(100, ge=1, description="size of z1, the latent vector of a frame")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = optional_numbers(spec, self.name) > 0

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return TganGenerator(spec, self.config.width, self.config.motion)
