"""WaveGAN's generator: one-dimensional transposed convolutions from z to a sound (Donahue 2019)."""

from __future__ import annotations

import itertools

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, optional_numbers
from gankit_plugins.layers.wavegan import KERNEL, PADDING, STRIDE, levels_of


class WaveganGenerator(nn.Module):
    """Network that maps z and the numbers of a condition to a short feature map, and upsamples it to a sound."""

    def __init__(self, spec: Spec, width: int, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        count, start = levels_of(spec, "wavegan")
        channels = [width * 2**level for level in reversed(range(count))]
        linear = nn.Linear(spec.latent_size + numbers, channels[0] * start)
        self.start = nn.Sequential(linear, nn.Unflatten(1, (channels[0], start)), nn.ReLU())
        layers = [
            nn.Sequential(spec.normalize("generator", upsampling(before, after), after), nn.ReLU())
            for before, after in itertools.pairwise(channels)
        ]
        self.body = nn.Sequential(*layers)
        self.to_sound = nn.Sequential(upsampling(width, spec.channels), nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate sounds (B, C, L) in [-1, 1] from z (B, latent_size) and the condition.

        The condition is labels (B,), vectors (B, N), or None.
        """
        if self.numbers:
            assert condition is not None, "a conditional generator needs a condition"
            z = torch.cat([z, numbers_of(condition, self.numbers).to(z.dtype)], dim=1)
        return self.to_sound(self.body(self.start(z)))


def upsampling(before: int, after: int) -> nn.ConvTranspose1d:
    """Return a transposed convolution that makes feature maps 4 times as long."""
    return nn.ConvTranspose1d(before, after, KERNEL, STRIDE, PADDING, output_padding=1)


class Wavegan(Plugin):
    """WaveGAN's generator: transposed convolutions of length 25 and stride 4 from a short feature map to the sound.

    Source: Donahue 2019, table 3. For 16,384 samples and `width` 64, the feature maps are 16x1024, 64x512, 256x256,
    1024x128 and 4096x64. ReLU follows each of these layers, and tanh follows the last one. The setting
    `normalization.generator` applies to the transposed convolutions except the last (paper: none). Other lengths have
    fewer or more layers. The table of the paper for 65,536 samples has one more layer, with 2,048 channels. Weights
    have the initial values of PyTorch, as the paper does not name others.

    If the data have classes or numbers as the condition, they are appended to z, classes as a one-hot vector. The paper
    has no condition.

    When to use: for short sounds, with the discriminator `wavegan`, the loss `wasserstein` and `gradient_penalty`.
    When not: for images.
    """

    name = "wavegan"
    kind = "generator"
    mixes_classes = True

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the last feature map before the sound, d in the paper")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = optional_numbers(spec, self.name) > 0

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return WaveganGenerator(spec, self.config.width, optional_numbers(spec, self.name))
