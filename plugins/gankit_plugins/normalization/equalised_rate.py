"""Equalised learning rate."""

from __future__ import annotations

from torch import nn

from gankit import Plugin, Settings, hookimpl
from gankit_plugins.layers.equalised_weights import equalise, equalise_weights
from gankit_plugins.layers.weights import LAYERS


class EqualisedRate(Plugin):
    """Equalised learning rate: weights from N(0, 1), multiplied by He's constant at run time.

    Source: Karras 2017, section 4.1: `w' = c w` with `c = (2 / fan_in)^0.5`. The initial w' has the distribution of He
    2015. Adam's step does not depend on the scale of the gradient, so all weights w change at the same relative speed.
    The plugin applies to all trained convolutions, transposed convolutions and linear layers of the player's network.
    It replaces their initial weights, and sets their biases to 0. Layers that already have an equalised rate, as in
    `pggan`, are not changed. Layers that tricks add are not equalised, except the layers of `projection` and
    `self_attention`. In a transposed convolution with kernel k and stride s, fan_in is the number of input channels
    times k^2 / s^2.

    Because c is small, w needs larger steps than usual. The paper's learning rate is 0.001, for weights from N(0, 1).

    When to use: with Adam, in networks without batch norm whose layers have different sizes.
    When not: with SGD, whose steps depend on the scale of the gradient. Also not with a learning rate for ordinary
    weights, such as 0.0002, which is too low here.
    """

    name = "equalised_rate"
    kind = "normalization"

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.wrapped = False

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        # `wrap_network` equalises the layers of the network, including layers that were built without a call to this
        # hook. Tricks call this hook later for the layers that they add to the network.
        return equalise(layer) if self.wrapped and isinstance(layer, LAYERS) else layer

    @hookimpl
    def wrap_network(self, network: nn.Module) -> nn.Module:
        self.wrapped = True
        return equalise_weights(network)
