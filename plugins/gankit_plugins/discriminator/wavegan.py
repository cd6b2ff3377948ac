"""WaveGAN's discriminator: one-dimensional strided convolutions from a sound to one logit (Donahue 2019)."""

from __future__ import annotations

import itertools

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import append_planes, optional_numbers
from gankit_plugins.layers.wavegan import KERNEL, PADDING, STRIDE, levels_of


class WaveganDiscriminator(nn.Module):
    """Network of strided convolutions, which downsample the sound, and a linear layer to one logit.

    With `numbers` > 0, the numbers of the condition are appended to the sound as constant channels.
    """

    def __init__(self, spec: Spec, width: int, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        count, end = levels_of(spec, "wavegan")
        channels = [spec.channels + numbers, *(width * 2**level for level in range(count))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layer: nn.Module = nn.Conv1d(before, after, KERNEL, STRIDE, PADDING)
            if layers:
                layer = spec.normalize("discriminator", layer, after)
            layers.append(nn.Sequential(layer, nn.LeakyReLU(0.2)))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1] * end, 1)

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of sounds (B, C, L).

        The condition is labels (B,), vectors (B, N), or None.
        """
        if self.numbers:
            assert condition is not None, "a conditional discriminator needs a condition"
            images = append_planes(images, condition, self.numbers)
        features = self.body(images).flatten(1)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class Wavegan(Plugin):
    """WaveGAN's discriminator: convolutions of length 25 and stride 4, and a linear layer at the end.

    Source: Donahue 2019, table 4. For 16,384 samples and `width` 64, the feature maps are 4096x64, 1024x128, 256x256,
    64x512 and 16x1024. LeakyReLU 0.2 follows each layer. The phase shuffle of the paper is the trick `phase_shuffle`.
    The setting `normalization.discriminator` applies to every convolution except the first (paper: none). Other lengths
    have fewer or more layers.

    If the data have classes or numbers as the condition, a constant channel is appended to the sound for each number,
    or for each class. The paper has no condition.

    When to use: for short sounds, with the generator `wavegan`.
    When not: for images.
    """

    name = "wavegan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(64, ge=1, description="channels of the first feature map, d in the paper")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return WaveganDiscriminator(spec, self.config.width, optional_numbers(spec, self.name))
