"""Dropout in the generator."""

from __future__ import annotations

from typing import Annotated, Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Player, Plugin, Settings, hookimpl

ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.RReLU,
    nn.PReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
)
"""Activation modules of hidden layers. Tanh and sigmoid are excluded, because generators use them for their output."""


def drop(x: Tensor, p: float, training: bool) -> Tensor:
    """Apply dropout: in training, set values to zero with probability p, and divide the remaining values by 1 - p.

    In feature maps (B, C, ...) whole channels are set to zero, because neighbouring pixels are similar (Tompson 2015).
    """
    by_channel = {3: F.dropout1d, 4: F.dropout2d, 5: F.dropout3d}
    return by_channel.get(x.dim(), F.dropout)(x, p, training)


class Dropout(Plugin):
    """Dropout in the generator: random hidden activations are set to zero in training.

    Source: Srivastava 2014; for GANs, Meng 2021, section 2.2.4, which states neither the layers nor the rate. Dropout
    sets whole channels of feature maps, or single values of vectors, to zero. It acts on the outputs of the network's
    activation modules. These modules are numbered from 0 in the order of `nn.Module.modules()`. The names of the
    parameters do not change. Samples are drawn without dropout.

    When to use: in a few layers (`layers = [0, 1]`) of a generator whose images are too similar.
    When not: for a generator with too little capacity, or if the training is already noisy.
    """

    name = "dropout"

    class Config(Settings):
        p: float = Field(0.5, ge=0, lt=1, description="share of values to drop")
        layers: list[Annotated[int, Field(ge=0)]] | None = Field(
            None, min_length=1, description="indices of activations, 0 next to the input; default: all"
        )

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        if player == "generator":
            for activation in self._selected(network):
                activation.register_forward_hook(self._drop_output)
        return network

    def _selected(self, network: nn.Module) -> list[nn.Module]:
        activations = [module for module in network.modules() if isinstance(module, ACTIVATIONS)]
        if not activations:
            raise InputError(
                f"{type(network).__name__} has no activation modules for dropout; write its activations as "
                "modules (nn.LeakyReLU), or remove the trick"
            )
        layers = range(len(activations)) if self.config.layers is None else self.config.layers
        if max(layers) >= len(activations):
            raise InputError(
                f"dropout: layers = {list(layers)}: {type(network).__name__} has {len(activations)} activations, "
                f"numbered from 0 to {len(activations) - 1}"
            )
        return [activations[i] for i in sorted(set(layers))]

    def _drop_output(self, activation: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return drop(output, self.config.p, activation.training)
