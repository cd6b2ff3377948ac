"""CGAN's generator (Mirza 2014)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, require_numbers


class CganGenerator(nn.Module):
    """Fully connected network with layers for z, the condition and their joint features, and an output layer."""

    def __init__(self, spec: Spec, config: Cgan.Config) -> None:
        super().__init__()
        c = config
        self.shape = spec.shape
        self.numbers = require_numbers(spec, "cgan", "mlp")

        def layer(inputs: int, units: int) -> nn.Sequential:
            return nn.Sequential(spec.normalize("generator", nn.Linear(inputs, units), units), nn.ReLU())

        self.from_noise = layer(spec.latent_size, c.noise_units)
        self.from_label = layer(self.numbers, c.label_units)
        self.joint = layer(c.noise_units + c.label_units, c.joint_units)
        self.to_image = nn.Linear(c.joint_units, math.prod(spec.shape))

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and the condition.

        The condition is labels (B,) or vectors (B, N).
        """
        assert condition is not None, "a conditional generator needs a condition"
        y = numbers_of(condition, self.numbers).to(z.dtype)
        both = torch.cat([self.from_noise(z), self.from_label(y)], dim=1)
        return self.to_image(self.joint(both)).tanh().view(-1, *self.shape)


class Cgan(Plugin):
    """CGAN's generator: fully connected, with the class or attributes as an additional input.

    Source: Mirza 2014, section 4.1. z is mapped to 200 units, and the class to 1,000 units. The concatenation of these
    units is mapped to 1,200 units. ReLU follows each of these layers. A last layer maps the 1,200 units to the image.
    In the paper, a sigmoid follows, because images are in [0, 1]. Here tanh follows, because images are in [-1, 1]. The
    setting `normalization.generator` applies to every hidden layer (paper: none). The paper's dropout of 0.5 in G is
    available as the trick `dropout`.

    When to use: with the discriminator `cgan`, on small images.
    When not: for images larger than about 64x64; use `conditional_dcgan`. For images without labels, use `mlp`.
    """

    name = "cgan"
    kind = "generator"
    mixes_classes = True

    class Config(Settings):
        noise_units: int = Field(200, ge=1, description="units of the layer for z")
        label_units: int = Field(1000, ge=1, description="units of the layer for the class")
        joint_units: int = Field(1200, ge=1, description="units of the joint layer")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        require_numbers(spec, self.name, "mlp")
        spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return CganGenerator(spec, self.config)
