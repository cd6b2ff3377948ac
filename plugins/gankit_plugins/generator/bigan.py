"""BiGAN's generator for MNIST: fully connected, with two hidden layers (Donahue 2017)."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.bigan import hidden_layers
from gankit_plugins.layers.dcgan import initialized


class BiganGeneratorNetwork(nn.Module):
    """Fully connected network that maps z to all values of an image."""

    def __init__(self, spec: Spec, units: int) -> None:
        super().__init__()
        self.shape = spec.shape
        self.hidden = hidden_layers(spec, "generator", spec.latent_size, units, nn.ReLU())
        self.to_image = initialized(nn.Linear(units, math.prod(spec.shape)))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size). Labels are unused."""
        return self.to_image(self.hidden(z)).tanh().view(-1, *self.shape)


class BiganGenerator(Plugin):
    """BiGAN's generator for MNIST: fully connected, with two hidden layers of 1,024 units.

    Source: Donahue 2017, appendix C: ReLU follows the first hidden layer; normalisation and ReLU follow the second. The
    setting `normalization.generator` applies to the second hidden layer (paper: batch norm without scale and shift).
    Initial weights are from N(0, 0.02^2). Here the activation of the last layer is tanh, because images are in [-1, 1].

    When to use: with the discriminator `bigan`, to reproduce the paper's results on MNIST.
    When not: for images larger than about 64x64; use `dcgan`, because convolutions suit large images better.
    """

    name = "bigan"
    kind = "generator"

    class Config(Settings):
        units: int = Field(1024, ge=1, description="units of each hidden layer")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return BiganGeneratorNetwork(spec, self.config.units)
