"""Orthogonal initialisation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit import Player, Plugin, Settings, hookimpl

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def make_orthogonal(layer: nn.Module, gain: float) -> None:
    """Draws a layer's weight anew, so that W^T W = gain^2 I, or W W^T where W has more columns than rows.

    W is (outputs, all else), and one such matrix for each group of a grouped convolution. A transposed convolution's
    weight has its inputs first; so has its W.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    drawn = weight.detach().clone()
    for group in drawn.chunk(getattr(layer, "groups", 1)):
        nn.init.orthogonal_(group, gain)
    with torch.no_grad():
        if parametrize.is_parametrized(layer, "weight"):
            # The weight is computed from another one (spectral norm), which is told of its new value.
            layer.weight = drawn
        else:
            weight.copy_(drawn)


class OrthogonalInit(Plugin):
    """Begins with random orthogonal weights.

    Source: Saxe 2013 (Exact solutions to the nonlinear dynamics of learning in deep linear neural networks), section
    3; for GANs Brock 2018, section 3. All convolutions and linear layers are drawn anew, biases are left alone. Of
    networks for each class, which lie side by side in one layer, each has an orthogonal matrix of its own.

    When to use: deep networks without normalisation, whose first signals would die or explode.
    When not: where an architecture draws its weights for a reason of its own.
    """

    name = "orthogonal_init"

    class Config(Settings):
        gain: float = Field(1.0, gt=0, description="the length of each row or column")
        players: list[Player] = Field(
            ["generator", "discriminator"], min_length=1, description="whose weights are drawn so"
        )

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        if player in self.config.players:
            for module in list(network.modules()):
                if isinstance(module, LAYERS):
                    make_orthogonal(module, self.config.gain)
        return network
