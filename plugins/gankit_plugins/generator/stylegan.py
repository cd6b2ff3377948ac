"""StyleGAN's generator (Karras 2018)."""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Spec
from gankit_plugins.layers.adain import Adain
from gankit_plugins.layers.equalised import EqualisedConv2d
from gankit_plugins.layers.linear_output import linear_output
from gankit_plugins.layers.modulated import Noise
from gankit_plugins.layers.resampling import WIDE, LowPass, convolve_up
from gankit_plugins.layers.scaled_activation import ScaledActivation
from gankit_plugins.layers.square_sizes import CHANNEL_BASE, FIRST, channels_at, sides_of
from gankit_plugins.layers.style_generator import StyleGeneratorPlugin, StyleGeneratorSettings, Synthesis


class FilteredDoubling(LowPass):
    """3x3 convolution without biases that doubles the size, followed by a low-pass filter."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(WIDE)
        self.convolution = EqualisedConv2d(before, after, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample x (B, before, H, W) to feature maps (B, after, 2 H, 2 W)."""
        return convolve_up(x, self.convolution.scaled_weight(), self.kernel)


class StyledLayer(nn.Module):
    """Layer, followed by noise, the activation, and adaptive instance normalisation (Karras 2018, figure 1b).

    Args:
        layer: convolution, or the identity for the constant input.
        channels: number of channels that the layer returns.
        w_size: length of the style vector w.
        noise: True to add noise.
    """

    def __init__(self, layer: nn.Module, channels: int, w_size: int, noise: bool) -> None:
        super().__init__()
        self.layer = layer
        self.noise = Noise(channels) if noise else nn.Identity()
        self.activation = ScaledActivation(channels)
        self.adain = Adain(channels, w_size)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Apply the layer, noise, activation and AdaIN to x (B, C, H, W), with the style vector w (B, w_size).

        Return feature maps (B, channels, H', W').
        """
        return self.adain(self.activation(self.noise(self.layer(x))), w)


class AdainSynthesis(Synthesis):
    """Network that maps a learned constant of 4x4 pixels to the image, with two styled layers at every size.

    At 4x4, the first layer has no convolution. It applies noise, the activation and AdaIN to the constant. At every
    other size, the convolution of the first layer doubles the size.
    """

    def __init__(self, spec: Spec, config: StyleGeneratorSettings, owner: str) -> None:
        super().__init__()
        sides = sides_of(spec, owner)
        self.layers = 2 * len(sides)
        channels = [channels_at(side, config.channel_base, config.max_channels) for side in sides]
        # The learned constant input is initialised to 1 (Karras 2018, appendix C). Its values become different only
        # through training.
        self.constant = nn.Parameter(torch.ones(1, channels[0], FIRST, FIRST))

        def styled(layer: nn.Module, count: int) -> StyledLayer:
            return StyledLayer(layer, count, config.w_size, config.noise)

        def same_size(count: int) -> StyledLayer:
            return styled(EqualisedConv2d(count, count, 3, bias=False), count)

        body = [styled(nn.Identity(), channels[0]), same_size(channels[0])]
        for before, after in pairwise(channels):
            body += [styled(FilteredDoubling(before, after), after), same_size(after)]
        self.body = nn.ModuleList(body)
        self.to_image = EqualisedConv2d(channels[-1], spec.channels, 1)

    def forward(self, ws: Tensor) -> Tensor:
        """Generate images (B, C, H, W) from style vectors w for L layers, (B, L, w_size).

        In evaluation mode, the images are clamped to [-1, 1].
        """
        x = self.constant.expand(ws.shape[0], -1, -1, -1)
        for layer, w in zip(self.body, ws.unbind(1), strict=True):
            x = layer(x, w)
        return linear_output(self.to_image(x), self.training)


class Stylegan(StyleGeneratorPlugin):
    """StyleGAN's generator: a mapping network from z to w, and convolutions with adaptive instance normalisation.

    Source: Karras 2018, section 2, figure 1b and appendix C. The defaults are the paper's values for every size up to
    1024x1024. Set the paper's size of z in the prior: `latent.size = 512`. Feature maps of side s have 16,384 / s
    channels, at most 512, as in Karras 2017. Progressive growing is left out, so the network has a fixed size. The
    setting `normalization.generator` is not used.

    The last layer is linear, as in the paper, so images may have values outside [-1, 1] in training. They are clamped
    to [-1, 1] in samples and metrics.

    Truncation in w applies to all samples and metrics. Set `psi` in the recipe, or on the command line, as in
    `gankit sample FILE generator.psi=0.7`.

    When to use: to reproduce the paper, or to compare it with `stylegan2`.
    When not: for other purposes; use `stylegan2`, whose images have no blob artefacts. For images that are not square,
    or whose side is not a power of two, use `sngan`.
    """

    name = "stylegan"

    class Config(StyleGeneratorSettings):
        channel_base: int = Field(16384, ge=1, description=CHANNEL_BASE)

    config: Config

    def synthesis(self, spec: Spec) -> Synthesis:
        return AdainSynthesis(spec, self.config, self.name)
