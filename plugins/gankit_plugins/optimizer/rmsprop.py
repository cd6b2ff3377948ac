"""RMSProp optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl


class RMSProp(Plugin):
    """RMSProp: gradient descent with the gradient divided by the root mean square of recent gradients.

    Source: Tieleman 2012 (lecture 6.5 of Neural Networks for Machine Learning); for GANs, Arjovsky 2017, algorithm 1.
    The default learning rate of 0.00005 is from this algorithm. Learning-rate schedules multiply `lr`.

    When to use: with weight clipping (Arjovsky 2017), where momentum makes the critic unstable.
    When not: in all other cases; use `adam`, for which most GANs are tuned.
    """

    name = "rmsprop"
    kind = "optimizer"

    class Config(Settings):
        lr: float = Field(5e-5, gt=0, description="learning rate, before any schedule")
        alpha: float = Field(0.99, ge=0, lt=1, description="decay rate of the running average of the squared gradient")
        eps: float = Field(1e-8, gt=0, description="added to the denominator")
        momentum: float = Field(0.0, ge=0, lt=1, description="factor of the previous step")
        weight_decay: float = Field(0.0, ge=0, description="factor of L2 regularisation")

    config: Config

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(parameters, **self.config.model_dump(), foreach=True)
