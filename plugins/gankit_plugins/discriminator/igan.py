"""IGAN's discriminators (Meng 2021, section 1.2, figures 8 and 9)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.igan import SLOPE, activated, convolution
from gankit_plugins.layers.per_class import from_groups, route, to_groups

SMALLEST = 7
"""Maximum side of the last feature map, in pixels. Blocks downsample by 2 until the side is at most this limit."""

WIDEST = 8
"""Largest number of channels, as a multiple of `width`. Each downsampling doubles the channels, up to this limit."""


class ResidualBlock(nn.Module):
    """Residual block that downsamples by 2: a convolution, a strided convolution and a strided shortcut.

    `channels` and `wider` are the numbers of input and output channels of each group of the grouped convolutions.
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
        """Downsample x (B, groups * channels, H, W) to feature maps (B, groups * wider, H // 2, W // 2)."""
        return self.activation(self.long_way(x) + self.short_cut(x))


class IganDiscriminatorNetwork(nn.Module):
    """Residual networks, one for each of N classes. All are computed together as one network of grouped convolutions.

    Each image is processed by the network of its class. With `classes` = 1 there is one network for all images, and
    labels are unused.
    """

    def __init__(self, spec: Spec, width: int, classes: int) -> None:
        super().__init__()
        self.classes = N = classes
        first = nn.Conv2d(spec.channels * N, width * N, 3, padding=1, groups=N)
        layers: list[nn.Module] = [activated(spec, "discriminator", first, width * N)]
        channels, size = width, spec.image_size("igan")
        while min(size) > SMALLEST:
            wider = min(2 * channels, WIDEST * width)
            layers.append(ResidualBlock(spec, channels, wider, N))
            channels, size = wider, (size[0] // 2, size[1] // 2)
        self.body = nn.Sequential(*layers)
        # One linear layer per class, computed as a grouped convolution. Its kernel covers the whole feature map.
        self.head = nn.Conv2d(channels * N, N, size, groups=N)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, H, W) and labels (B,).

        In training mode, each class must occur equally often in `labels`.
        """
        routing = None
        if self.classes > 1:
            assert labels is not None, "discriminators per class need labels"
            routing = route(labels, self.classes, balanced=self.training)
        maps = self.body(to_groups(images, routing))
        logits = from_groups(self.head(maps), routing)
        return DiscriminatorOutput(logits.flatten(), from_groups(maps, routing).flatten(1))


class IganDiscriminator(Plugin):
    """IGAN's discriminator: a residual network, smaller than the generator so that D does not become too strong.

    Source: Meng 2021, section 1.2, figures 8 and 9: blocks of convolution, normalisation and LeakyReLU, and strided
    convolutions in place of pooling. The sizes in the figures are unreadable. Here each block downsamples by 2 and
    doubles the channels, until the side of the feature map is at most 7. Labels are unused.

    When to use: with the generator `igan`, or another generator for which other discriminators are too strong.
    When not: with a class-conditional generator; use `igan_per_class` instead.
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
    """IGAN discriminators, one for each class. Each discriminator is trained only on images of its class.

    Source: Meng 2021, section 1.2, figure 8. The networks of the N classes are computed together as grouped
    convolutions. If the data has no classes, there is one network.

    Each batch must have the same number of images of each class, so `train.batch_size` must be a multiple of N.

    When to use: with the generator `igan_vn`.
    When not: for many classes with few images each, because each network would memorise its images.
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
