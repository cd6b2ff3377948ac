"""Adam with weight decay of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl

Beta = Annotated[float, Field(ge=0, lt=1)]

_FUSED = {"cpu", "cuda"}
"""Devices for which torch has it as one kernel; elsewhere torch chooses."""


class AdamW(Plugin):
    """Adam whose weights decay apart from the gradient.

    Source: Loshchilov 2017 (Decoupled Weight Decay Regularization), algorithm 2: each step also multiplies every
    parameter by 1 - lr weight_decay, so the decay is the same for all, whatever their gradients. The first beta is
    0.5, as Radford 2015 recommends for GANs. A schedule multiplies `lr`, and the decay with it.

    When to use: few images or long runs, where D's weights would grow without end.
    When not: beside `l2_regularization`, which would do the same a second time.
    """

    name = "adamw"
    kind = "optimizer"

    class Config(Settings):
        lr: float = Field(2e-4, gt=0, description="learning rate, before any schedule")
        betas: tuple[Beta, Beta] = Field(
            (0.5, 0.999), description="decay of the running averages of the gradient and of its square"
        )
        eps: float = Field(1e-8, gt=0, description="added to the denominator")
        weight_decay: float = Field(0.01, ge=0, description="of a parameter's size, for each step and unit of rate")

    config: Config

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        c = self.config
        fused = all(p.device.type in _FUSED for p in parameters)
        return torch.optim.AdamW(
            parameters, lr=c.lr, betas=c.betas, eps=c.eps, weight_decay=c.weight_decay, fused=fused or None
        )
