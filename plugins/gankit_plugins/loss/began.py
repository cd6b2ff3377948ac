"""Loss of BEGAN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import RecipeInfo, Run, Settings, Step, hookimpl
from gankit_plugins.loss.reconstruction import ReconstructionLoss, reconstruction_error


def next_k(k: Tensor, real_error: Tensor, fake_error: Tensor, gamma: float, rate: float) -> Tensor:
    """Return k_{t+1} = k_t + lambda_k (gamma L(x) - L(G(z))), clamped to [0, 1] (Berthelot 2017, section 3.4).

    Args:
        k: k_t, a scalar.
        real_error: L(x), mean reconstruction error of real images, a scalar.
        fake_error: L(G(z)), mean reconstruction error of generated images, a scalar.
        gamma: ratio of `fake_error` to `real_error` in equilibrium.
        rate: lambda_k.
    """
    return (k + rate * (gamma * real_error - fake_error)).clamp(0, 1)


def convergence_measure(real_error: Tensor, fake_error: Tensor, gamma: float) -> Tensor:
    """Return the measure of convergence M = L(x) + |gamma L(x) - L(G(z))|, a scalar (Berthelot 2017, section 3.4).

    `real_error` is L(x), and `fake_error` is L(G(z)). Both are mean reconstruction errors.
    """
    return real_error + (gamma * real_error - fake_error).abs()


class Began(ReconstructionLoss):
    """Difference between D's reconstruction errors of real and of generated images, with an adaptive weight (BEGAN).

    Source: Berthelot 2017, section 3.4. D minimises L(x) - k L(G(z)), and G minimises L(G(z)), where L is D's mean
    reconstruction error. k starts at 0. After each G step, k changes so that L(G(z)) approaches gamma L(x). L(x) is
    from the last D step, and L(G(z)) is from the G step. The log contains k as `began_k`, and the measure of
    convergence M as `began_convergence`. M falls as the images improve.

    When to use: with the discriminator and the generator of the same name, for smooth images and stable training.
    When not: for varied images, because with a small gamma, the generated images are similar to each other.
    """

    name = "began"

    class Config(Settings):
        gamma: float = Field(0.5, ge=0, le=1, description="gamma, ratio of L(G(z)) to L(x); low: sharp, less varied")
        rate: float = Field(0.001, gt=0, description="lambda_k, change of k per unit of imbalance")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.k: Tensor | None = None
        self.parts: list[Tensor] = []
        """Mean reconstruction error of each micro-batch of the current step (gradient accumulation).

        The errors are those of real images in a D step, and of fake images in a G step.
        """

        self.real_error: Tensor | None = None
        """Mean reconstruction error of the real images in the last D step. None before the first D step."""

        self.convergence: Tensor | None = None

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.uses("feature_matching"):
            raise ValueError("feature_matching replaces G's loss, from which k is computed; remove one of the two")
        if recipe.uses("top_k"):
            raise ValueError("with top_k, k would be computed from the best images only; remove one of the two")
        return super().check_recipe(recipe)

    @hookimpl
    def on_start(self, run: Run) -> None:
        if self.k is None:
            self.k = torch.zeros((), device=run.device)

    def discriminator_term(self, step: Step) -> Tensor:
        real, fake = (reconstruction_error(output).mean() for output in (step.real_output, step.fake_output))
        self._record(step, real)
        assert self.k is not None, "on_start comes first"
        return real - self.k * fake

    def generator_term(self, step: Step) -> Tensor:
        fake = reconstruction_error(step.fake_output).mean()
        self._record(step, fake)
        return fake

    def _record(self, step: Step, error: Tensor) -> None:
        if not step.simulated:
            self.parts.append(error.detach())

    def _mean_error(self, run: Run) -> Tensor:
        """Return the mean reconstruction error over the step's micro-batches and over the ranks, and clear `parts`."""
        mean = run.ranks.mean(torch.stack(self.parts).mean(0))
        self.parts.clear()
        return mean

    @hookimpl
    def after_d_step(self, run: Run) -> None:
        self.real_error = self._mean_error(run)

    @hookimpl
    def after_g_step(self, run: Run) -> None:
        fake_error = self._mean_error(run)
        # If a plugin changes the order of the steps, a G step may come before the first D step.
        if self.real_error is not None:
            assert self.k is not None, "on_start comes first"
            self.k = next_k(self.k, self.real_error, fake_error, self.config.gamma, self.config.rate)
            self.convergence = convergence_measure(self.real_error, fake_error, self.config.gamma)

    @hookimpl
    def log_values(self) -> dict[str, Tensor]:
        values = {"began_k": self.k, "began_convergence": self.convergence}
        return {name: value for name, value in values.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        return {"k": self.k, "real_error": self.real_error, "convergence": self.convergence}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.k, self.real_error, self.convergence = state["k"], state["real_error"], state["convergence"]
