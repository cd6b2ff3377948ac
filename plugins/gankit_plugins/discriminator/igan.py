"""IGAN's discriminators (Meng 2021, section 1.2, figures 8 and 9)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.common import SLOPE, activated, convolution
from gankit_plugins.layers.per_class import from_groups, route, to_groups

SMALLEST = 7
"""Maps are halved until they are no wider than this."""

WIDEST = 8
"""Channels are doubled with every halving, up to this many times `width`."""


class ResidualBlock(nn.Module):
    """A convolution and a strided one, and a strided short cut past both: half the size, `wider` channels.

    Args:
        spec: for the normalisation.
        channels, wider: of one group, before and after.
        groups: networks side by side.
    """

    def __init__(self, spec: Spec, channels: int, wider: int, groups: int) -> None:
        super().__init__()
        before, after = channels * groups, wider * groups
        halving = nn.Conv2d(before, after, 4, stride=2, padding=1, groups=groups)
        short_cut = nn.Conv2d(before, after, 2, stride=2, groups=groups)
        self.long_way = nn.Sequential(
            activated(spec, "discriminator", convolution(channels, groups), before),
            spec.normalize("discriminator", halving, after),
        )
        self.short_cut = spec.normalize("discriminator", short_cut, after)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, wider, H // 2, W // 2)."""
        return self.activation(self.long_way(x) + self.short_cut(x))


class IganJudge(nn.Module):
    """`classes` small residual networks side by side; each judges the images of its own class.

    Args:
        spec: image sizes.
        width: channels of the first layer.
        classes: N; 1 for one network that judges everything.
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
        # A linear layer for each class, as a convolution whose kernel covers the whole map.
        self.head = nn.Conv2d(channels * N, N, side, groups=N)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """(B, C, R, R) and (B,) to logits (B,) and features (B, F); one network needs no labels.

        In training mode every class must have equally many images.
        """
        way = None
        if self.classes > 1:
            assert labels is not None, "discriminators by class are told the classes"
            way = route(labels, self.classes, balanced=self.training)
        maps = self.body(to_groups(images, way))
        logits = from_groups(self.head(maps), way)
        return DiscriminatorOutput(logits.flatten(), from_groups(maps, way).flatten(1))


class IganDiscriminator(Plugin):
    """IGAN's discriminator: a small residual network, weaker than the generator on purpose.

    Source: Meng 2021, section 1.2, figures 8 and 9: blocks of convolution, normalisation and LeakyReLU, strided
    convolutions and no pooling. The figures' sizes are lost; here each block halves the map and doubles the
    channels, until the map is no wider than 7. It looks at images alone, not at labels.

    When to use: beside `igan`, or any generator that a strong discriminator would leave behind.
    When not: with classes that matter: `igan_per_class`.
    """

    name = "igan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(32, ge=1, description="channels of the first layer")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return IganJudge(spec, self.config.width, classes=1)


class IganPerClass(Plugin):
    """One IGAN discriminator for each class; each judges the images of its own class alone.

    Source: Meng 2021, section 1.2, figure 8. The N networks run as grouped convolutions. Without classes it is one
    network.

    Batches must hold equally many images of each class: `train.batch_size` must be a multiple of N.

    When to use: beside `igan_vn`.
    When not: with many classes of few images, where each network would learn them by heart.
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
        return IganJudge(spec, self.config.width, max(1, spec.classes))
