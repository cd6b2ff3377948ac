"""Adam with decoupled weight decay."""

from __future__ import annotations

import torch
from pydantic import Field

from gankit_plugins.optimizer.adam import Adam


class AdamW(Adam):
    """Adam with weight decay that is independent of the gradient.

    Source: Loshchilov 2017 (Decoupled Weight Decay Regularization), algorithm 2. Each step also multiplies every
    parameter by `1 - lr * weight_decay`. The relative decay is therefore equal for all parameters. The first beta is
    0.5, as Radford 2015 recommends for GANs. Learning-rate schedules multiply `lr`, so they also change the decay.

    When to use: with few images or in long runs, where D's weights would grow without bound.
    When not: together with `l2_regularization`, which also shrinks the weights.
    """

    name = "adamw"
    optimizer_class = torch.optim.AdamW

    class Config(Adam.Config):
        weight_decay: float = Field(0.01, ge=0, description="relative decay of a parameter per step, divided by lr")
