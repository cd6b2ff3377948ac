"""Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl

Beta = Annotated[float, Field(ge=0, lt=1)]

_FUSED = {"cpu", "cuda"}
"""Devices for which torch has Adam as one kernel; elsewhere torch chooses."""


class Adam(Plugin):
    """Adam, with the settings that GANs are usually trained with.

    Source: Kingma 2014. The first beta is 0.5 instead of 0.9, as Radford 2015 recommends for GANs: with more
    momentum the two players circle around each other. `weight_decay` is the L2 kind, added to the gradient.
    A schedule multiplies `lr`.

    When to use: nearly always.
    When not: with weight clipping (Arjovsky 2017), where momentum makes the critic unstable.
    """

    name = "adam"
    kind = "optimizer"

    class Config(Settings):
        lr: float = Field(2e-4, gt=0, description="learning rate, before any schedule")
        betas: tuple[Beta, Beta] = Field(
            (0.5, 0.999), description="decay of the running averages of the gradient and of its square"
        )
        eps: float = Field(1e-8, gt=0, description="added to the denominator")
        weight_decay: float = Field(0.0, ge=0, description="L2 regularisation: this times the weight is added")

    config: Config

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        c = self.config
        fused = all(p.device.type in _FUSED for p in parameters)
        return torch.optim.Adam(
            parameters, lr=c.lr, betas=c.betas, eps=c.eps, weight_decay=c.weight_decay, fused=fused or None
        )
