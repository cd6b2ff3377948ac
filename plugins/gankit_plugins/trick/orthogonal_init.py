"""Orthogonal initialisation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit import Player, Plugin, Settings, hookimpl
from gankit_plugins.layers.weights import BOTH, Players, trainable_layers


def make_orthogonal(layer: nn.Module, gain: float) -> None:
    """Initialise a layer's weight W so that W^T W = gain^2 I, or W W^T = gain^2 I if W has more columns than rows.

    W has one row for each output channel. In a transposed convolution, W has one row for each input channel. Each group
    of a grouped convolution has a separate W.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    initial = weight.detach().clone()
    for group in initial.chunk(getattr(layer, "groups", 1)):
        nn.init.orthogonal_(group, gain)
    with torch.no_grad():
        if parametrize.is_parametrized(layer, "weight"):
            # Assignment to a parametrised weight (for example with spectral norm) also updates the original weight.
            layer.weight = initial
        else:
            weight.copy_(initial)


class OrthogonalInit(Plugin):
    """Initialisation of weights as random orthogonal matrices.

    Source: Saxe 2013 (Exact solutions to the nonlinear dynamics of learning in deep linear neural networks), section 3;
    for GANs Brock 2018, section 3. The trick initialises all convolutions and linear layers, but not biases and frozen
    weights. If a player has one network per class, the weights of each class are initialised separately.

    When to use: in deep networks without normalisation, where signals would otherwise vanish or explode.
    When not: in networks that define their own initialisation, which this trick would replace.
    """

    name = "orthogonal_init"

    class Config(Settings):
        gain: float = Field(1.0, gt=0, description="norm of each row or column")
        players: Players = Field(BOTH, description="players whose weights are initialised")

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        if player in self.config.players:
            for layer in trainable_layers(network):
                make_orthogonal(layer, self.config.gain)
        return network
