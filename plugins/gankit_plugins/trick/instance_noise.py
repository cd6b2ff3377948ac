"""Gaussian noise on the inputs of D."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Run, Settings, hookimpl


def variance(t: int, sigma: float, final_sigma: float, over: int | None) -> float:
    """Return the variance of the noise at iteration t = 0, 1, ...

    The standard deviation changes linearly from `sigma` at t = 0 to `final_sigma` at t = `over`, and is then constant.
    If `over` is None, the standard deviation is always `sigma`.
    """
    fraction = 0.0 if over is None else min(t / over, 1.0)
    return ((1 - fraction) * sigma + fraction * final_sigma) ** 2


class InstanceNoise(Plugin):
    """Gaussian noise on real and generated images before they enter D.

    Source: Sønderby 2016 (Amortised MAP Inference for Image Super-resolution), section on instance noise; Arjovsky 2017
    (Towards Principled Methods for Training GANs); Meng 2021, section 2.2.4. Real and generated images lie on thin
    manifolds that hardly overlap, so D can separate them without a useful gradient for G. With noise on both, their
    distributions overlap everywhere. The noise is added in D steps and G steps. `sigma` is for images in [-1, 1].

    When to use: if D's loss falls to nearly 0 early in training. Set `over` to reduce the noise to 0 if details matter.
    When not: together with a strong gradient penalty. Too much noise hides details from D.
    """

    name = "instance_noise"

    class Config(Settings):
        sigma: float = Field(0.1, ge=0, description="initial standard deviation of the noise")
        final_sigma: float = Field(0.0, ge=0, description="standard deviation after `over` iterations")
        over: int | None = Field(
            None, ge=1, description="iterations from sigma to final_sigma; default: sigma is constant"
        )

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        c = self.config
        sigma = variance(run.iteration, c.sigma, c.final_sigma, c.over) ** 0.5
        if sigma == 0:
            return images, labels
        return torch.add(images, torch.randn_like(images), alpha=sigma), labels
