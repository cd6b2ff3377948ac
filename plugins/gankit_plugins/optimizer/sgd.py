"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import nn

from gankit import Plugin, Settings, hookimpl
from gankit_plugins.optimizer.adam import fused


class SGD(Plugin):
    """Stochastic gradient descent, optionally with momentum.

    Source: Robbins 1951; Polyak 1964 for momentum, Nesterov 1983 for Nesterov's momentum. Learning-rate schedules
    multiply `lr`.

    When to use: to study training with plain gradient descent, as theoretical papers do, or for D only (Chintala 2016).
    When not: for fast training. All parameters have the same learning rate, even if their gradients differ greatly.
    """

    name = "sgd"
    kind = "optimizer"

    class Config(Settings):
        lr: float = Field(0.01, gt=0, description="learning rate, before any schedule")
        momentum: float = Field(0.0, ge=0, lt=1, description="factor of the previous step")
        nesterov: bool = Field(False, description="Nesterov's momentum; it needs a momentum above 0")
        weight_decay: float = Field(0.0, ge=0, description="factor of L2 regularisation")

        @model_validator(mode="after")
        def _momentum_for_nesterov(self) -> SGD.Config:
            if self.nesterov and not self.momentum:
                raise ValueError("nesterov needs a momentum above 0, for example 0.9")
            return self

    config: Config

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, **self.config.model_dump(), fused=fused(parameters))
