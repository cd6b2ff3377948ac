"""Equalised learning rate for existing layers, as a parametrisation of their weights (Karras 2017, section 4.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit_plugins.layers.equalised import EqualisedConv2d, EqualisedLinear
from gankit_plugins.layers.weights import TRANSPOSED, filters, trainable_layers

EQUALISED = (EqualisedConv2d, EqualisedLinear)
"""Classes of layers that already have an equalised learning rate."""


def fan_in(layer: nn.Module) -> float:
    """Return the mean number of inputs that one output of a convolution or a linear layer depends on.

    In a transposed convolution with stride s, an output pixel uses, on average, 1 / s of the kernel along each axis.
    """
    inputs = filters(layer).shape[2]
    if isinstance(layer, TRANSPOSED):
        return inputs / math.prod(layer.stride)
    return float(inputs)


class Scaled(nn.Module):
    """Parametrisation of a weight as a constant c times the trained parameter (Karras 2017, section 4.1)."""

    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = c

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the trained parameter: the weight divided by c.

        PyTorch calls this method when a weight is assigned to the layer.
        """
        return weight / self.c

    def forward(self, parameter: Tensor) -> Tensor:
        """Return the weight: c times the trained parameter."""
        return self.c * parameter


def equalise(layer: nn.Module) -> nn.Module:
    """Add an equalised learning rate to a layer, and return the layer.

    The trained parameter is drawn from N(0, 1). The weight is this parameter times He's constant (2 / fan_in)^0.5.
    Biases are set to 0. A layer that already has an equalised learning rate is not changed.
    """
    if not isinstance(layer, EQUALISED):
        scaled = Scaled(math.sqrt(2 / fan_in(layer)))
        assert isinstance(layer.weight, Tensor)
        with torch.no_grad():
            layer.weight.normal_(0, scaled.c)
            if isinstance(layer.bias, Tensor):
                layer.bias.zero_()
        parametrize.register_parametrization(layer, "weight", scaled)
    return layer


def equalise_weights(network: nn.Module) -> nn.Module:
    """Add an equalised learning rate to a network's convolutions and linear layers, and return the network.

    Layers with frozen weights are not changed.
    """
    for layer in trainable_layers(network):
        equalise(layer)
    return network
