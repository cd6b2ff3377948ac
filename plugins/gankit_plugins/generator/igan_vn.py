"""IGAN_vN's generator: one trunk, and branches for each class (Meng 2021, section 1.2, figures 5 to 7)."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Plugin, Spec, hookimpl
from gankit_plugins.generator.igan import Igan
from gankit_plugins.layers.igan import (
    Upsampling,
    activated,
    convolution,
    enlargement,
    image_layer,
    prime_factors,
    set_sizes,
    single_enlargement,
)
from gankit_plugins.layers.per_class import from_groups, route, to_groups


class IganVnGenerator(nn.Module):
    """Network with a trunk for all classes and branches for each class.

    The trunk maps z to two sets of feature maps: a small set of 4x4 and a large set of R/4 x R/4. R is the side of the
    image. Then a long path and a shortcut enlarge the small set to R x R, and their outputs are added. Each class has
    two branches, whose outputs are added. The first branch applies a convolution to the enlarged small set. The second
    branch (the paper's IBlock) enlarges the large set to R/2 and then to R. In the long path and the second branch, a
    convolution follows every enlargement. The branches of all N classes are computed as grouped convolutions.
    """

    def __init__(self, spec: Spec, channels: int, upsampling: Upsampling, normalize_output: bool = True) -> None:
        super().__init__()
        self.classes = N = max(1, spec.classes)
        self.channels = channels
        self.small, self.large, factor = set_sizes(spec)
        self.to_small = nn.Linear(spec.latent_size, math.prod(self.small) * channels)
        self.to_large = nn.Linear(spec.latent_size, math.prod(self.large) * channels)

        def step(layer: nn.Module, groups: int = 1) -> nn.Module:
            return activated(spec, "generator", layer, channels * groups)

        layers: list[nn.Module] = []
        for prime in prime_factors(factor):
            layers.append(step(convolution(channels)))
            layers.append(step(enlargement(channels, prime, upsampling)))
            layers.append(step(convolution(channels)))
        self.long_way = nn.Sequential(*layers)
        self.short_cut = step(single_enlargement(channels, factor))
        self.small_branch = step(convolution(channels, N), N)
        self.large_branch = nn.Sequential(
            step(enlargement(channels, 2, upsampling, N), N),
            step(convolution(channels, N), N),
            step(enlargement(channels, 2, upsampling, N), N),
            step(convolution(channels, N), N),
        )
        self.to_image = image_layer(spec, channels, normalize_output, N)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and labels (B,).

        With one class, labels are unused. In training mode, each class must occur equally often in `labels`.
        """
        small = self.to_small(z).view(-1, self.channels, *self.small)
        large = self.to_large(z).view(-1, self.channels, *self.large)
        shared = self.long_way(small) + self.short_cut(small)
        routing = None
        if self.classes > 1:
            assert labels is not None, "a conditional generator needs labels"
            routing = route(labels, self.classes, balanced=self.training)
        branches = self.small_branch(to_groups(shared, routing)) + self.large_branch(to_groups(large, routing))
        return from_groups(self.to_image(branches), routing)


class IganVn(Plugin):
    """IGAN_vN's generator: one network for any number of classes, with branches for each class.

    Source: Meng 2021, section 1.2, figures 6 and 7. All classes share the trunk. Each class has two branches and a
    separate last convolution. The branches are grouped convolutions, so a batch costs about the same for N classes as
    for one class. With one class, or for images without classes, the network is a deeper IGAN.

    Each batch must have the same number of images of each of the N classes, so `train.batch_size` must be a multiple of
    N.

    When to use: for 2 to about 50 classes, if each image should have features of only one class.
    When not: for hundreds of classes, because each branch then gets few images; use a conditional network, such as
    `conditional_dcgan`.
    """

    name = "igan_vn"
    kind = "generator"
    per_class_networks = True

    class Config(Igan.Config):
        channels: int = Field(64, ge=1, description="channels of every feature map of one class")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = spec.classes > 1
        spec.class_balanced = spec.class_balanced or spec.conditional

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        c = self.config
        return IganVnGenerator(spec, c.channels, c.upsampling, c.normalize_output)


class IganV2(IganVn):
    """IGAN_v2's generator: `igan_vn` with exactly two classes.

    Source: Meng 2021, section 1.2, figure 5.

    When to use: to reproduce the paper's two-class experiments. Other numbers of classes raise an error.
    When not: in all other cases; use `igan_vn`, the same network for any number of classes.
    """

    name = "igan_v2"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if spec.classes != 2:
            raise InputError(f"igan_v2 needs two classes, and the dataset has {spec.classes}; use igan_vn")
        super().adjust_spec(spec)
