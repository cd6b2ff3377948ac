"""FastGAN's generator: one convolution at each size, and skip-layer excitation (Liu 2021)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.dcgan import initialized
from gankit_plugins.layers.fastgan import channels_at, gated, up_block
from gankit_plugins.layers.residual import sizes_of
from gankit_plugins.layers.skip_excitation import SkipLayerExcitation

SMALLEST = 4
"""Upper limit of the smaller side of G's first feature map, in pixels."""

SOURCES = (1, 2, 3)
"""Levels of the 8x8, 16x16 and 32x32 feature maps, which scale the channels of larger feature maps.

The level of a feature map is the number of doublings before it.
"""

DISTANCE = 4
"""Number of doublings between the two feature maps of a skip-layer excitation."""


def excitations(doublings: int) -> dict[int, int]:
    """Return the pairs of feature maps of all skip-layer excitations, as a dict from the larger to the smaller level.

    The level of a feature map is the number of doublings before it. The largest level is `doublings`. The pairs are 8x8
    and 128x128, 16x16 and 256x256, 32x32 and 512x512 (Liu 2021, figure 3). For images below 128x128, the pair is the
    smallest and the largest feature map.
    """
    pairs = {low + DISTANCE: low for low in SOURCES if low + DISTANCE <= doublings}
    return pairs or {doublings: 0}


class FastganGenerator(nn.Module):
    """Network that maps z to a small feature map, and upsamples it with one convolution at each size."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        sizes = sizes_of(spec, "fastgan", SMALLEST)[::-1]
        channels = [channels_at(level, width, size) for level, size in enumerate(sizes)]
        first = initialized(nn.ConvTranspose2d(spec.latent_size, 2 * channels[0], sizes[0]))
        self.from_z = gated(spec, "generator", first, channels[0])
        levels = range(1, len(sizes))
        self.body = nn.ModuleList(up_block(spec, "generator", channels[k - 1], channels[k], sizes[k]) for k in levels)
        self.sources = excitations(len(self.body))
        self.excitations = nn.ModuleDict(
            {str(high): SkipLayerExcitation(channels[low], channels[high]) for high, low in self.sources.items()}
        )
        self.to_image = nn.Sequential(initialized(nn.Conv2d(channels[-1], spec.channels, 3, padding=1)), nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size). The condition is unused."""
        maps = [self.from_z(z[:, :, None, None])]
        for level, block in enumerate(self.body, start=1):
            x = block(maps[-1])
            if level in self.sources:
                x = self.excitations[str(level)](maps[self.sources[level]], x)
            maps.append(x)
        return self.to_image(maps[-1])


class Fastgan(Plugin):
    """FastGAN's generator: one convolution at each size, gated linear units and skip-layer excitation.

    Source: Liu 2021, section 3.1, equation 1 and figure 3. A transposed convolution maps z to a 4x4 feature map. Each
    further size has upsampling, one convolution and a gated linear unit. The setting `normalization.generator` applies
    to each convolution except the last (paper: batch norm). In skip-layer excitation, the 8x8 feature map scales the
    channels of the 128x128 feature map. In the same way, the 16x16 feature map scales the 256x256 one, and the 32x32
    feature map scales the 512x512 one. Feature maps of 512x512 and larger have 3 channels. The other numbers of
    channels and the initial weights are choices of this implementation. Each doubling of the size halves the number of
    channels, down to `width` / 32. The initial weights are from N(0, 0.02^2), as in DCGAN.

    Images may have any size of at least 4x4. The image's height and width are halved and rounded up until the smaller
    one is at most 4. This gives the sizes of the feature maps. For images below 128x128, the smallest feature map
    scales the largest one.

    When to use: for small datasets of small or large images, on one device, with the discriminator `fastgan`.
    When not: for large datasets and long training; a network with more layers at each size, such as `sngan`, then has
    more capacity.
    """

    name = "fastgan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(1024, ge=1, description="channels of the smallest feature map, which has the most")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return FastganGenerator(spec, self.config.width)
