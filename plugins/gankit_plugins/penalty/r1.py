"""Zero-centred gradient penalty on real images."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from gankit import DiscriminatorOutput, Schedule, Scheduled, Settings, Source, Step
from gankit_plugins.penalty.input_gradient import (
    Discriminator,
    InputGradientPenalty,
    Interval,
    mean_squared_norm,
    output_gradient,
)


class R1(InputGradientPenalty):
    """Penalty that pulls D's gradient towards 0 on real images.

    Source: Mescheder 2018, equation 9: gamma / 2 times the mean squared norm of the gradient at D's real inputs. When G
    matches the data, the penalty makes D flat. D's gradient then does not move G away from the data, so training
    converges locally.

    When to use: for stable long runs with cross-entropy losses and without other penalties. Setting `every = 16` saves
    most of the penalty's cost.
    When not: with a Wasserstein loss, because its critic needs a slope; use `gradient_penalty`.
    """

    name = "r1"
    input_gradients: ClassVar[tuple[Source, ...]] = ("real",)

    class Config(Settings):
        gamma: Scheduled = Field(10.0, gt=0, description="weight of the penalty in D's loss, which contains gamma / 2")
        every: Interval = 1

    def weight(self) -> float | Schedule:
        return self.config.gamma

    def penalty(self, discriminator: Discriminator, step: Step) -> Tensor:
        """Return 1/2 E[||grad D(x)||_2^2] at D's inputs x (Mescheder 2018, equations 9 and 10)."""
        output, (images, _) = self.output_and_inputs(step)
        return mean_squared_norm(output_gradient(output.logits, images)) / 2

    def output_and_inputs(self, step: Step) -> tuple[DiscriminatorOutput, tuple[Tensor, Tensor | None]]:
        """Return D's output for the real images and D's inputs."""
        return step.real_output, step.real_inputs
