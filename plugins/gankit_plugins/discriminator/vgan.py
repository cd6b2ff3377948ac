"""VGAN's discriminator: convolutions in time and space from a video clip to one logit (Vondrick 2016)."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import append_planes, optional_numbers
from gankit_plugins.layers.dcgan import channels_at
from gankit_plugins.layers.vgan import DEVIATION, SLOPE, halving, sizes_of


class VganDiscriminatorNetwork(nn.Module):
    """Network of strided convolutions, which downsample the clip in time and space, and a linear layer to one logit.

    N numbers of a condition are appended to the clip as constant channels. For a class, they are its one-hot vector.
    """

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.numbers = optional_numbers(spec, "vgan")
        sizes = sizes_of(spec, "vgan")
        layers = [nn.Sequential(halving(spec.channels + self.numbers, width, sizes[0]), nn.LeakyReLU(SLOPE))]
        channels = width
        for level in range(2, len(sizes)):
            more = channels_at(level, width)
            layer = spec.normalize("discriminator", halving(channels, more, sizes[level - 1]), more)
            layers.append(nn.Sequential(layer, nn.LeakyReLU(SLOPE)))
            channels = more
        self.body = nn.Sequential(*layers)
        # A linear layer computes the same function as the paper's last convolution, whose kernel covers the whole map.
        self.head = nn.Linear(channels * math.prod(sizes[-1]), 1)
        nn.init.normal_(self.head.weight, 0.0, DEVIATION)
        nn.init.zeros_(self.head.bias)

    def forward(self, clips: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of clips (B, C, T, H, W) with labels (B,) or vectors (B, N)."""
        if self.numbers:
            assert condition is not None, "a conditional discriminator needs a condition"
            clips = append_planes(clips, condition, self.numbers)
        features = self.body(clips).flatten(1)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class VganDiscriminator(Plugin):
    """VGAN's discriminator: strided convolutions in time and space, and one linear layer at the end.

    Source: Vondrick 2016, "Discriminator Network". The kernels are 4x4x4 with stride 2. For clips of 32 frames of
    64x64, the feature maps have the sizes of the generator `vgan` in reverse order. LeakyReLU 0.2 follows each
    convolution. The setting `normalization.discriminator` applies to every convolution except the first (paper: batch
    norm). Saito 2017 uses the same network for 16 frames, with a last feature map of one frame. Initial weights are
    from N(0, 0.01^2).

    Here clips may have any number of frames of at least 4x4 pixels. If the data have classes or numbers as the
    condition, one constant channel is appended to the clip for each class or number (Mirza 2014).

    When to use: with the generators `vgan` and `tgan`.
    When not: for images; use `dcgan`.
    """

    name = "vgan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return VganDiscriminatorNetwork(spec, self.config.width)
