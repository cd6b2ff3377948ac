"""IGAN's discriminators (Meng 2021, section 1.2, figures 8 and 9)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.igan import SLOPE, activated, convolution
from gankit_plugins.layers.per_class import from_groups, route, to_groups

SMALLEST = 7
"""Largest side of the last feature map. Feature maps are halved until their side is at most this."""

WIDEST = 8
"""Largest number of channels, as a multiple of `width`. Each halving of the size doubles the channels."""


class ResidualBlock(nn.Module):
    """Residual block that halves the size: a convolution and a strided one, with a strided short cut.

    `channels` and `wider` are the input and output channels of one group.
    """

    def __init__(self, spec: Spec, channels: int, wider: int, groups: int) -> None:
        super().__init__()
        inputs, outputs = channels * groups, wider * groups
        halving = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, groups=groups)
        short_cut = nn.Conv2d(inputs, outputs, 2, stride=2, groups=groups)
        self.long_way = nn.Sequential(
            activated(spec, "discriminator", convolution(channels, groups), inputs),
            spec.normalize("discriminator", halving, outputs),
        )
        self.short_cut = spec.normalize("discriminator", short_cut, outputs)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps (B, groups * wider, H // 2, W // 2) of x (B, groups * channels, H, W)."""
        return self.activation(self.long_way(x) + self.short_cut(x))


class IganDiscriminatorNetwork(nn.Module):
    """Residual networks for N classes, computed as one network. The network of its class is applied to each image.

    With `classes` = 1, one network is applied to all images, and labels are unused.
    """

    def __init__(self, spec: Spec, width: int, classes: int) -> None:
        super().__init__()
        self.classes = N = classes
        first = nn.Conv2d(spec.channels * N, width * N, 3, padding=1, groups=N)
        layers: list[nn.Module] = [activated(spec, "discriminator", first, width * N)]
        channels, side = width, spec.resolution
        while side > SMALLEST:
            wider = min(2 * channels, WIDEST * width)
            layers.append(ResidualBlock(spec, channels, wider, N))
            channels, side = wider, side // 2
        self.body = nn.Sequential(*layers)
        # One linear layer for each class, as a convolution whose kernel covers the whole feature map.
        self.head = nn.Conv2d(channels * N, N, side, groups=N)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, R, R) and labels (B,).

        In training mode every class must have the same number of images.
        """
        routing = None
        if self.classes > 1:
            assert labels is not None, "discriminators per class need labels"
            routing = route(labels, self.classes, balanced=self.training)
        maps = self.body(to_groups(images, routing))
        logits = from_groups(self.head(maps), routing)
        return DiscriminatorOutput(logits.flatten(), from_groups(maps, routing).flatten(1))


class IganDiscriminator(Plugin):
    """IGAN's discriminator: a residual network, smaller than the generator so that it does not win at once.

    Source: Meng 2021, section 1.2, figures 8 and 9: blocks of convolution, normalisation and LeakyReLU, and strided
    convolutions in place of pooling. The sizes in the figures are unreadable. Here each block halves the feature map
    and doubles the channels, until the side is at most 7. Labels are unused.

    When to use: with `igan`, or another generator that a strong discriminator would defeat.
    When not: with a generator of requested classes: `igan_per_class`.
    """

    name = "igan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(32, ge=1, description="channels of the first layer")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return IganDiscriminatorNetwork(spec, self.config.width, classes=1)


class IganPerClass(Plugin):
    """One IGAN discriminator for each class, trained on images of its class only.

    Source: Meng 2021, section 1.2, figure 8. The N networks are computed as grouped convolutions. Without classes it is
    one network.

    Batches must have the same number of images of each class: `train.batch_size` must be a multiple of N.

    When to use: with `igan_vn`.
    When not: with many classes of few images, which each network would memorise.
    """

    name = "igan_per_class"
    kind = "discriminator"
    per_class_networks = True

    class Config(Settings):
        width: int = Field(32, ge=1, description="channels of each network's first layer")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.class_balanced = spec.class_balanced or spec.classes > 1

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return IganDiscriminatorNetwork(spec, self.config.width, max(1, spec.classes))
