"""Adam optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from gankit import Plugin, Run, Schedule, Scheduled, Settings, hookimpl, value_at

Beta = Annotated[Scheduled, Field(ge=0, lt=1)]

FUSED_DEVICES = {"cpu", "cuda"}
"""Device types with fused kernels for Adam, AdamW and SGD. On other devices, PyTorch chooses the implementation."""


def fused(parameters: Sequence[nn.Parameter]) -> bool | None:
    """Return the optimiser's argument `fused`: True if all parameters are on devices with fused kernels, else None."""
    return all(p.device.type in FUSED_DEVICES for p in parameters) or None


class Adam(Plugin):
    """Adam with the usual settings for GANs.

    Source: Kingma 2014. The first beta is 0.5 instead of 0.9, as Radford 2015 recommends for GANs: with more momentum
    the training oscillates. `weight_decay` is L2 regularisation, added to the gradient. Learning-rate schedules
    multiply `lr`. Each beta may be a schedule, such as `{ schedule = "cosine", start = 0.9, end = 0.99 }`. A scheduled
    beta changes between iterations. Adam's bias correction then uses the current value for all past steps.

    When to use: nearly always.
    When not: with weight clipping (Arjovsky 2017), where momentum makes the critic unstable.
    """

    name = "adam"
    kind = "optimizer"
    optimizer_class: ClassVar[Callable[..., torch.optim.Optimizer]] = torch.optim.Adam

    class Config(Settings):
        lr: float = Field(2e-4, gt=0, description="learning rate, before any schedule")
        betas: tuple[Beta, Beta] = Field((0.5, 0.999), description="decays of the averages of gradient and square")
        eps: float = Field(1e-8, gt=0, description="added to the denominator")
        weight_decay: float = Field(0.0, ge=0, description="factor of L2 regularisation")

    config: Any

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        betas = tuple(beta.start if isinstance(beta, Schedule) else beta for beta in self.config.betas)
        numbers = self.config.model_dump() | {"betas": betas}
        self.optimizer = self.optimizer_class(parameters, **numbers, fused=fused(parameters))
        return self.optimizer

    @hookimpl
    def before_iteration(self, run: Run) -> None:
        betas = tuple(value_at(beta, run) for beta in self.config.betas)
        for group in self.optimizer.param_groups:
            group["betas"] = betas
