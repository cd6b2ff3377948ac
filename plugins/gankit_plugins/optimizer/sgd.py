"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import nn

from gankit import Plugin, Settings, hookimpl

_FUSED = {"cpu", "cuda"}
"""Devices for which torch has it as one kernel; elsewhere torch chooses."""


class SGD(Plugin):
    """A step against the gradient, with momentum if wanted.

    Source: Robbins 1951; Polyak 1964 for momentum, Nesterov 1983 for its other form. A schedule multiplies `lr`.

    When to use: to study a game whose steps are what theory says; or for D alone (Chintala 2016).
    When not: to train a GAN quickly: parameters of very different gradients share one rate.
    """

    name = "sgd"
    kind = "optimizer"

    class Config(Settings):
        lr: float = Field(0.01, gt=0, description="learning rate, before any schedule")
        momentum: float = Field(0.0, ge=0, lt=1, description="part of the last step that is taken again")
        nesterov: bool = Field(False, description="Nesterov's momentum; it wants a momentum above 0")
        weight_decay: float = Field(0.0, ge=0, description="L2 regularisation: this times the weight is added")

        @model_validator(mode="after")
        def _momentum_for_nesterov(self) -> SGD.Config:
            if self.nesterov and not self.momentum:
                raise ValueError("nesterov wants a momentum above 0, such as 0.9")
            return self

    config: Config

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        fused: Any = all(p.device.type in _FUSED for p in parameters) or None
        return torch.optim.SGD(parameters, **self.config.model_dump(), fused=fused)
