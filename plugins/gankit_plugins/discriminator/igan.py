"""IGAN's discriminators (Meng 2021, section 1.2, figures 8 and 9)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.igan import SLOPE, activated, convolution
from gankit_plugins.layers.per_class import from_groups, route, to_groups

SMALLEST = 7
"""Feature maps are halved until they are at most this wide."""

WIDEST = 8
"""Largest number of channels, as a multiple of `width`. Channels are doubled with every halving."""


class ResidualBlock(nn.Module):
    """Residual block: a convolution and a strided one, with a strided short cut, to half the size.

    Args:
        spec: spec with the normalisation.
        channels: input channels of one group.
        wider: output channels of one group.
        groups: number of networks in the layers.
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
        """Return a feature map (B, wider, H // 2, W // 2) of one of (B, channels, H, W)."""
        return self.activation(self.long_way(x) + self.short_cut(x))


class IganDiscriminatorNetwork(nn.Module):
    """Residual networks for `classes` classes, computed as one; each image passes through that of its class.

    Args:
        spec: image sizes.
        width: channels of the first layer.
        classes: N; 1 for one network for all images.
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
        """Return logits (B,) and features (B, F) of images (B, C, R, R) and labels (B,), unused by a single network.

        In training mode every class must have equally many images.
        """
        routing = None
        if self.classes > 1:
            assert labels is not None, "discriminators per class need labels"
            routing = route(labels, self.classes, balanced=self.training)
        maps = self.body(to_groups(images, routing))
        logits = from_groups(self.head(maps), routing)
        return DiscriminatorOutput(logits.flatten(), from_groups(maps, routing).flatten(1))


class IganDiscriminator(Plugin):
    """IGAN's discriminator: a small residual network, weaker than the generator on purpose.

    Source: Meng 2021, section 1.2, figures 8 and 9: blocks of convolution, normalisation and LeakyReLU, strided
    convolutions and no pooling. The sizes in the figures are unreadable. Here each block halves the feature map and
    doubles the channels, until the side is at most 7. Labels are unused.

    When to use: with `igan`, or any generator that a strong discriminator would leave behind.
    When not: with classes that matter: `igan_per_class`.
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
    """One IGAN discriminator for each class, which receives only images of its class.

    Source: Meng 2021, section 1.2, figure 8. The N networks are computed as grouped convolutions. Without classes it is
    one network.

    Batches must have equally many images of each class: `train.batch_size` must be a multiple of N.

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
