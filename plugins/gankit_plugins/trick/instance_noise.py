"""Gaussian noise on the inputs of D."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Run, Scheduled, Settings, hookimpl, value_at


class InstanceNoise(Plugin):
    """Gaussian noise on D's real and generated inputs.

    Source: Sønderby 2016 (Amortised MAP Inference for Image Super-resolution), section on instance noise; Arjovsky 2017
    (Towards Principled Methods for Training GANs); Meng 2021, section 2.2.4. Real and generated images lie on thin
    manifolds that hardly overlap. D can therefore separate them perfectly, and G gets no useful gradient. With noise on
    both kinds of images, their distributions overlap everywhere. The noise is added in D steps and G steps. The
    standard deviation `sigma` is given for pixel values in [-1, 1].

    When to use: if D's loss falls to nearly 0 early in training. If details matter, let the noise decrease:
    `sigma = { schedule = "linear", start = 0.1, end = 0.0 }`.
    When not: together with a strong gradient penalty. Too much noise hides details from D.
    """

    name = "instance_noise"

    class Config(Settings):
        sigma: Scheduled = Field(0.1, ge=0, description="standard deviation of the noise")

    config: Config

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None, run: Run) -> tuple[Tensor, Tensor | None]:
        sigma = value_at(self.config.sigma, run)
        if sigma == 0:
            return images, condition
        return torch.add(images, torch.randn_like(images), alpha=sigma), condition
