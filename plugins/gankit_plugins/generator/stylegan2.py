"""StyleGAN2's generator (Karras 2019)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from gankit import Spec
from gankit_plugins.layers.linear_output import linear_output
from gankit_plugins.layers.modulated import ModulatedConv2d, Noise
from gankit_plugins.layers.resampling import FilteredUpsample
from gankit_plugins.layers.scaled_activation import ScaledActivation
from gankit_plugins.layers.square_sizes import FIRST, channels_at, sides_of
from gankit_plugins.layers.style_generator import StyleGeneratorPlugin, StyleGeneratorSettings, Synthesis


class StyledLayer(nn.Module):
    """Modulated 3x3 convolution, noise and activation (Karras 2019, figure 2d)."""

    def __init__(self, before: int, after: int, w_size: int, up: bool, noise: bool) -> None:
        super().__init__()
        self.convolution = ModulatedConv2d(before, after, 3, w_size, up)
        self.noise = Noise() if noise else nn.Identity()
        self.activation = ScaledActivation(after)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Apply convolution, noise and activation to x (B, before, H, W), with the style vector w (B, w_size).

        Return feature maps (B, after, H, W), or (B, after, 2 H, 2 W) if the convolution upsamples.
        """
        return self.activation(self.noise(self.convolution(x, w)))


class ToImage(nn.Module):
    """Modulated 1x1 convolution to the channels of the image, with biases and without demodulation."""

    def __init__(self, before: int, after: int, w_size: int) -> None:
        super().__init__()
        self.convolution = ModulatedConv2d(before, after, 1, w_size, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the contribution (B, after, H, W) of feature maps x (B, before, H, W) to the image.

        w is the style vector, (B, w_size).
        """
        y = self.convolution(x, w)
        return y + self.bias.to(y.dtype)[:, None, None]


class SkipSynthesis(Synthesis):
    """Network that maps a learned constant of 4x4 pixels to the image. Every size contributes to the image.

    There is one styled layer at 4x4. Every other size has two styled layers, and the first one doubles the size. After
    the layers of each size, a `ToImage` layer adds its output to the upsampled sum of the smaller sizes. The `ToImage`
    layer uses the style vector of the next styled layer.
    """

    def __init__(self, spec: Spec, config: StyleGeneratorSettings, owner: str) -> None:
        super().__init__()
        sides = sides_of(spec, owner)
        self.layers = 2 * len(sides)
        channels = [channels_at(side, config.channel_base, config.max_channels) for side in sides]
        self.constant = nn.Parameter(torch.randn(1, channels[0], FIRST, FIRST))

        def layer(before: int, after: int, up: bool) -> StyledLayer:
            return StyledLayer(before, after, config.w_size, up, config.noise)

        blocks = [nn.ModuleList([layer(channels[0], channels[0], up=False)])]
        for before, after in pairwise(channels):
            blocks.append(nn.ModuleList([layer(before, after, up=True), layer(after, after, up=False)]))
        self.blocks = nn.ModuleList(blocks)
        self.to_image = nn.ModuleList(ToImage(count, spec.channels, config.w_size) for count in channels)
        self.upsample = FilteredUpsample()

    def forward(self, ws: Tensor) -> Tensor:
        """Generate images (B, C, H, W) from style vectors w for L layers, (B, L, w_size).

        In evaluation mode, the images are clamped to [-1, 1].
        """
        styles = ws.unbind(1)
        x, images, place = self.constant.expand(ws.shape[0], -1, -1, -1), None, 0
        for layers, to_image in zip(self.blocks, self.to_image, strict=True):
            for layer in layers:  # type: ignore[attr-defined]
                x = layer(x, styles[place])
                place += 1
            share = to_image(x, styles[place])
            images = share if images is None else share + self.upsample(images)
        assert images is not None
        return linear_output(images, self.training)


class Stylegan2(StyleGeneratorPlugin):
    """StyleGAN2's generator: a mapping network from z to w, and modulated convolutions with output skips.

    Source: Karras 2019, section 2 and section 4, configuration F: weight demodulation and output skips. Feature maps of
    64x64 and larger have twice as many channels as in StyleGAN. The defaults are the paper's values for every size up
    to 1024x1024. Set the paper's size of z in the prior: `latent.size = 512`. Feature maps of side s have 32,768 / s
    channels, at most 512. With `conditional`, the class or attributes are an additional input of the mapping network
    (Karras 2020, appendix D). The setting `normalization.generator` is not used.

    No activation follows the sum of all sizes, as in the paper, so images may have values outside [-1, 1] in training.
    They are clamped to [-1, 1] in samples and metrics.

    Truncation in w applies to all samples and metrics. Set `psi` in the recipe, or on the command line, as in
    `gankit sample FILE generator.psi=0.7`.

    When to use: with the discriminator `stylegan2`, the loss `non_saturating`, `r1`, `path_length` and
    `moving_average`. For small datasets, add `ada`.
    When not: for images that are not square, or whose side is not a power of two; use `sngan`.
    """

    name = "stylegan2"

    def synthesis(self, spec: Spec) -> Synthesis:
        return SkipSynthesis(spec, self.config, self.name)
