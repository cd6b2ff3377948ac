"""Loss of EBGAN."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gankit import Settings, Step
from gankit_plugins.loss.reconstruction import ReconstructionLoss, reconstruction_error


def discriminator_loss(real_error: Tensor, fake_error: Tensor, margin: float) -> Tensor:
    """Return E[D(x)] + E[max(0, m - D(G(z)))] (Zhao 2016, equation 1).

    D(x) and D(G(z)) are reconstruction errors (B, ...), and m is the margin.
    """
    return real_error.mean() + F.relu(margin - fake_error).mean()


def generator_loss(fake_error: Tensor) -> Tensor:
    """Return E[D(G(z))] for reconstruction errors D(G(z)), (B, ...) (Zhao 2016, equation 2)."""
    return fake_error.mean()


class Ebgan(ReconstructionLoss):
    """Energy-based loss: D's reconstruction error is low for real images, and near a margin for generated ones (EBGAN).

    Source: Zhao 2016, equations 1 and 2. D minimises the error of real images, and maximises the error of generated
    images up to the margin m. G minimises the error of its images. With m = 1, the loss differs from `hinge` only by a
    constant.

    When to use: with the discriminator `ebgan` or `began`. With the penalty `pull_away`, the images of a batch differ
    more from each other.
    When not: with a margin m below the error of real images. D then gets no gradient from generated images whose error
    is above m, although G can still improve them.
    """

    name = "ebgan"

    class Config(Settings):
        margin: float = Field(1.0, gt=0, description="m, error of generated images above which D gets no gradient")

    config: Config

    def discriminator_term(self, step: Step) -> Tensor:
        real, fake = reconstruction_error(step.real_output), reconstruction_error(step.fake_output)
        return discriminator_loss(real, fake, self.config.margin)

    def generator_term(self, step: Step) -> Tensor:
        return generator_loss(reconstruction_error(step.fake_output))
