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
"""Largest value of the smaller side, in pixels, of the feature map that G begins with."""

SOURCES = (1, 2, 3)
"""Numbers of doublings before the feature maps that scale larger ones: 8x8, 16x16 and 32x32."""

DISTANCE = 4
"""Number of doublings between the two feature maps of an excitation."""


def excitations(doublings: int) -> dict[int, int]:
    """Return the level of the small feature map by that of the large one, for a G with a number of doublings.

    A level is a number of doublings. The pairs are 8x8 and 128x128, 16x16 and 256x256, 32x32 and 512x512 (Liu 2021,
    figure 3). For images below 128x128, the pair is the smallest and the largest feature map.
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
        """Return images (B, C, H, W) in [-1, 1] for z (B, latent_size). The condition is unused."""
        maps = [self.from_z(z[:, :, None, None])]
        for level, block in enumerate(self.body, start=1):
            x = block(maps[-1])
            if level in self.sources:
                x = self.excitations[str(level)](maps[self.sources[level]], x)
            maps.append(x)
        return self.to_image(maps[-1])


class Fastgan(Plugin):
    """FastGAN's generator: one convolution at each size, gated linear units and skip-layer excitation.

    Source: Liu 2021, section 3.1, equation 1 and figure 3. z becomes a 4x4 feature map. At each further size there is
    upsampling, one convolution, the setting `normalization.generator` (paper: batch norm) and a gated linear unit. The
    map at 8x8 scales the channels of that at 128x128, 16x16 those of 256x256, and 32x32 those of 512x512. Maps from
    512x512 have 3 channels. Chosen here: the numbers of channels at smaller sizes, which are halved at each doubling of
    the size, down to `width` / 32, and the initial weights from N(0, 0.02^2), as in DCGAN.

    Images may have any size of at least 4x4. The sides of the feature maps result from halving the image's sides,
    rounded up, until the smaller one is at most 4. Below 128x128, the smallest map scales the largest one.

    When to use: for few images, up to large sizes, on one device, with the discriminator `fastgan`.
    When not: if many images and a long training are possible; a network with more layers at each size, such as `sngan`,
    can then represent more.
    """

    name = "fastgan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(1024, ge=1, description="channels of the smallest feature map, which has the most")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return FastganGenerator(spec, self.config.width)
