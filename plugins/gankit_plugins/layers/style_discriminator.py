"""Discriminator of StyleGAN and StyleGAN2. The two versions differ in the block that halves height and width."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Settings, Spec
from gankit_plugins.layers.equalised import EqualisedConv2d, EqualisedLinear
from gankit_plugins.layers.minibatch_stddev import DeviationMap
from gankit_plugins.layers.resampling import WIDE, LowPass, blur
from gankit_plugins.layers.scaled_activation import ScaledActivation
from gankit_plugins.layers.square_sizes import CHANNEL_BASE, FIRST, channels_at, sides_of

Block = Callable[[int, int], nn.Module]
"""Function that takes the numbers of input and output channels, and returns a block that halves height and width."""


class StyleDiscriminatorSettings(Settings):
    """Settings of a plugin that builds a `StyleDiscriminator`."""

    channel_base: int = Field(32768, ge=1, description=CHANNEL_BASE)
    max_channels: int = Field(512, ge=1, description="largest number of channels of a feature map")
    stddev_group: int = Field(
        4, ge=0, description="images of which the minibatch standard deviation is computed; 0 to leave it out"
    )


class FilteredHalving(LowPass):
    """Layer that halves height and width: a low-pass filter and a 3x3 convolution with stride 2 and without biases."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(WIDE)
        self.convolution = EqualisedConv2d(before, after, 3, bias=False, padding=0, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Filter x, (B, before, H, W), and apply the convolution. Return feature maps (B, after, H / 2, W / 2)."""
        return self.convolution(blur(x, self.kernel, padding=2))


def activated(before: int, after: int, kernel: int, padding: int | None = None) -> nn.Sequential:
    """Return a convolution with biases and leaky ReLU. If `padding` is None, height and width do not change."""
    return nn.Sequential(EqualisedConv2d(before, after, kernel, bias=False, padding=padding), ScaledActivation(after))


def convolutions(before: int, after: int) -> nn.Sequential:
    """Return two 3x3 convolutions with activations. The second one has `after` channels and halves height and width."""
    return nn.Sequential(activated(before, before, 3), FilteredHalving(before, after), ScaledActivation(after))


class StyleDiscriminator(nn.Module):
    """Network of a 1x1 convolution, blocks that halve the size down to 4x4, a 3x3 convolution, and two linear layers.

    Args:
        spec: specification of the images.
        config: settings.
        block: function that takes the numbers of input and output channels, and returns a block that halves height and
            width.
        owner: name of the plugin, for error messages.
    """

    def __init__(self, spec: Spec, config: StyleDiscriminatorSettings, block: Block, owner: str) -> None:
        super().__init__()
        sides = sides_of(spec, owner)[::-1]
        channels = [channels_at(side, config.channel_base, config.max_channels) for side in sides]
        self.from_image = activated(spec.channels, channels[0], 1)
        # Name each block by the side of its input. The names are then the same in networks for other image sizes.
        blocks = zip(sides, pairwise(channels), strict=False)
        self.body = nn.Sequential(OrderedDict((str(side), block(*pair)) for side, pair in blocks))
        count = channels[-1]
        self.deviation = DeviationMap(config.stddev_group) if config.stddev_group else nn.Identity()
        self.last = activated(count + bool(config.stddev_group), count, 3)
        # Without padding, the 4x4 convolution of 4x4 feature maps is equivalent to a fully connected layer.
        self.hidden = nn.Sequential(activated(count, count, FIRST, padding=0), nn.Flatten())
        self.head = EqualisedLinear(count, 1)

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, H, W). The condition is unused."""
        x = self.body(self.from_image(images))
        features = self.hidden(self.last(self.deviation(x)))
        return DiscriminatorOutput(self.head(features).flatten(), features)
