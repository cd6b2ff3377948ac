"""VGAN's generator: transposed convolutions in time and space from z to a video clip (Vondrick 2016)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, optional_numbers
from gankit_plugins.layers.dcgan import channels_at
from gankit_plugins.layers.vgan import doubling, initialized, sizes_of


class VganGenerator(nn.Module):
    """Network that maps z and N numbers of a condition to a small feature map, and upsamples it in time and space.

    For a class, the N numbers are its one-hot vector. With N = 0, the condition is unused.
    """

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.numbers = optional_numbers(spec, "vgan")
        sizes = sizes_of(spec, "vgan")
        levels = len(sizes) - 1
        channels = channels_at(levels, width)
        first = initialized(nn.ConvTranspose3d(spec.latent_size + self.numbers, channels, sizes[-1]))
        layers = [nn.Sequential(spec.normalize("generator", first, channels), nn.ReLU())]
        for level in range(levels - 1, 0, -1):
            fewer = channels_at(level, width)
            layer = doubling(channels, fewer, sizes[level])
            layers.append(nn.Sequential(spec.normalize("generator", layer, fewer), nn.ReLU()))
            channels = fewer
        self.body = nn.Sequential(*layers)
        self.to_clip = nn.Sequential(doubling(channels, spec.channels, sizes[0]), nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate clips (B, C, T, H, W) in [-1, 1] from z (B, latent_size) and labels (B,) or vectors (B, N)."""
        if self.numbers:
            assert condition is not None, "a conditional generator needs a condition"
            z = torch.cat([z, numbers_of(condition, self.numbers).to(z.dtype)], dim=1)
        return self.to_clip(self.body(z[:, :, None, None, None]))


class Vgan(Plugin):
    """VGAN's generator with one stream: transposed convolutions in time and space, from z to a video clip.

    Source: Vondrick 2016, "One Stream Architecture". For clips of 32 frames of 64x64 and `width` 64, the feature maps
    are 2x4x4x512, 4x8x8x256, 8x16x16x128 and 16x32x32x64. The first kernel is 2x4x4, and the others are 4x4x4 with
    stride 2. The setting `normalization.generator` applies to every layer except the last (paper: batch norm). ReLU
    follows each of these layers, and tanh follows the last layer. Initial weights are from N(0, 0.01^2).

    Here clips may have any number of frames of at least 4x4 pixels. All sides are halved and rounded down until the
    smaller side of a frame is at most 4. If the data have classes or numbers as the condition, they are appended to z
    (Mirza 2014); a class is a one-hot vector.

    When to use: as a baseline for short clips, with the discriminator `vgan`.
    When not: for images; use `dcgan`. For a z that describes the content apart from the motion, use `tgan`.
    """

    name = "vgan"
    kind = "generator"
    mixes_classes = True

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the last feature map before the clip")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = optional_numbers(spec, self.name) > 0

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return VganGenerator(spec, self.config.width)
