"""Gaussian noise on all that D is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run


def variance(t: int, sigma: float, final_sigma: float, over: int | None) -> float:
    """The noise's variance at iteration t = 0, 1, ...

    Its square root, the standard deviation, goes in a straight line from `sigma` at t = 0 to `final_sigma` at
    t = `over`, and stays there. With None for `over` it stays at `sigma`.
    """
    passed = 0.0 if over is None else min(t / over, 1.0)
    return ((1 - passed) * sigma + passed * final_sigma) ** 2


class InstanceNoise(Plugin):
    """Adds Gaussian noise of one law to real and generated images alike before D sees them.

    Source: Sønderby 2016 (Amortised MAP Inference for Image Super-resolution), section on instance noise;
    Arjovsky 2017 (Towards Principled Methods for Training GANs); Meng 2021, section 2.2.4. Two distributions
    on thin manifolds hardly overlap, and D can tell them apart without teaching G anything; with noise on
    both they overlap everywhere. The noise acts in both players' turns. Images lie in [-1, 1], which is the
    scale of `sigma`.

    When to use: D's loss falls to nothing early in training. Let the noise fade (`over`) if fine detail
    matters at the end.
    When not: beside a gradient penalty strong enough to do the same work; too much noise hides detail from D.
    """

    name = "instance_noise"

    class Config(Settings):
        sigma: float = Field(0.1, ge=0, description="standard deviation of the noise at the beginning")
        final_sigma: float = Field(0.0, ge=0, description="standard deviation once `over` iterations are played")
        over: int | None = Field(
            None, ge=1, description="iterations from sigma to final_sigma; without it sigma never changes"
        )

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        c = self.config
        sigma = variance(run.iteration, c.sigma, c.final_sigma, c.over) ** 0.5
        if sigma == 0:
            return images, labels
        return torch.add(images, torch.randn_like(images), alpha=sigma), labels
