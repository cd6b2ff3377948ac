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
"""What counts as the activation of a hidden layer. Tanh and sigmoid, which end generators, do not."""


def drop(x: Tensor, p: float, training: bool) -> Tensor:
    """Zeroes with probability p and scales the rest by 1 / (1 - p), so that the mean stays.

    Of feature maps (B, C, H, W) whole channels of single images are dropped: neighbouring pixels say nearly
    the same, so dropping single ones would take little away (Tompson 2015). Of anything else, single units.
    """
    return F.dropout2d(x, p, training) if x.dim() == 4 else F.dropout(x, p, training)


class Dropout(Plugin):
    """Drops part of the generator's hidden activations at random while it is trained.

    Source: Srivastava 2014; for GANs Meng 2021, section 2.2.4, which does not say in which layers or how much.
    Whole channels are dropped from feature maps, single units from vectors. It acts on the output of the
    network's activation modules (see `ACTIVATIONS`), in the order in which the network holds them, which is
    from its input on. No parameter is renamed and none is added, and samples are drawn without dropout.

    When to use: a generator whose images are too much alike, in a few layers: `layers = [0, 1]`.
    When not: a generator that has too little capacity anyway, or where training is noisy already.
    """

    name = "dropout"

    class Config(Settings):
        p: float = Field(0.5, ge=0, lt=1, description="the share that is dropped")
        layers: list[Annotated[int, Field(ge=0)]] | None = Field(
            None,
            min_length=1,
            description="which activations, counted from the input beginning with 0; without it all of them",
        )

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        if player == "generator":
            for activation in self._chosen(network):
                activation.register_forward_hook(self._after)
        return network

    def _chosen(self, network: nn.Module) -> list[nn.Module]:
        found = [module for module in network.modules() if isinstance(module, ACTIVATIONS)]
        if not found:
            raise InputError(
                f"{type(network).__name__} holds no activation module that dropout could follow; write its "
                "activations as modules (nn.LeakyReLU), or drop the trick"
            )
        layers = range(len(found)) if self.config.layers is None else self.config.layers
        if max(layers) >= len(found):
            raise InputError(
                f"layers = {list(layers)} given; {type(network).__name__} has {len(found)} activations, numbered "
                f"from 0 to {len(found) - 1}"
            )
        return [found[i] for i in sorted(set(layers))]

    def _after(self, activation: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return drop(output, self.config.p, activation.training)
