"""Prior of InfoGAN, with codes that a network predicts from the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gankit import ExtraNetwork, LossTerm, Plugin, RecipeInfo, Run, Scheduled, Settings, Spec, Step, hookimpl, truncated
from gankit_plugins.layers.probe import feature_count


def categorical_loss(logits: Tensor, code: Tensor) -> Tensor:
    """Return -E[ln Q(c|x)] for a categorical code, as a scalar in nats (Chen 2016, equation 4).

    Args:
        logits: unnormalised log-probabilities of the K categories, (B, K).
        code: the code c as one-hot vectors, (B, K).
    """
    return -(code * F.log_softmax(logits, 1)).sum(1).mean()


def continuous_loss(mean: Tensor, log_deviation: Tensor, code: Tensor) -> Tensor:
    """Return -E[ln Q(c|x)] for continuous codes and normal distributions Q, as a scalar in nats.

    All arguments have the shape (B, n). `log_deviation` is the logarithm of the standard deviation. The n codes are
    independent, so their log-probabilities are added. Source: Chen 2016, equation 4.
    """
    squares = ((code - mean) * (-log_deviation).exp()).square()
    return (squares / 2 + log_deviation + math.log(2 * math.pi) / 2).sum(1).mean()


def refuse_other_inputs(recipe: RecipeInfo) -> None:
    """Raise a ValueError if a trick of the recipe gives D images that do not correspond to the z of the step."""
    for name in ("packing", "experience_replay"):
        if recipe.uses(name):
            raise ValueError(f"with {name}, D's inputs do not correspond to the z of the step; remove one of the two")


class CodePredictor(nn.Module):
    """Network Q, which maps D's features of images (B, F) to predictions of the codes (B, output_size)."""

    def __init__(self, spec: Spec, features: int, units: int, output_size: int) -> None:
        super().__init__()
        self.hidden = spec.normalize("discriminator", nn.Linear(features, units), units)
        self.output = nn.Linear(units, output_size)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(F.leaky_relu(self.hidden(features), 0.1))


class InfoGan(Plugin):
    """Prior with codes that a network Q predicts from D's features of the image (InfoGAN).

    Source: Chen 2016, equations 4 and 6. z consists of noise from N(0, 1), of one-hot vectors of categorical codes, and
    of continuous codes that are uniform on [-1, 1]. Both players minimise lambda times -E[ln Q(c|x)] on generated
    images, which maximises a lower bound on the mutual information of the codes and the image. In equation 6, only G
    and Q minimise this term. Here D minimises it too, because Q shares the layers that compute D's features. The
    setting `normalization.discriminator` applies to Q's hidden layer (paper: batch norm).

    When to use: to find classes and factors of variation in images without labels.
    When not: if the data have labels, because a conditional generator then controls the class exactly.
    """

    name = "infogan"
    kind = "latent"

    class Config(Settings):
        noise: int = Field(62, ge=0, description="number of dimensions without a code")
        categorical: tuple[Annotated[int, Field(ge=2)], ...] = Field(
            (10,), description="number of categories of each categorical code"
        )
        continuous: int = Field(2, ge=0, description="number of continuous codes")
        weight: Scheduled = Field(1.0, gt=0, description="lambda of the categorical codes")
        continuous_weight: Scheduled = Field(0.1, gt=0, description="lambda of the continuous codes")
        units: int = Field(128, ge=1, description="hidden units of Q")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        refuse_other_inputs(recipe)
        if recipe.use_of("normalization.discriminator") == "virtual_batch_norm":
            raise ValueError(
                "Q has D's normalisation, and the reference batch of virtual_batch_norm does not pass through Q; set "
                "normalization.discriminator to batch_norm or none"
            )
        if not (self.config.categorical or self.config.continuous):
            raise ValueError("there is no code; set categorical or continuous, or use the prior 'normal'")
        return ()

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.latent_size = self.config.noise + sum(self.config.categorical) + self.config.continuous

    @hookimpl
    def sample_latent(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        parts = [torch.randn(count, self.config.noise, device=device, generator=generator)]
        for size in self.config.categorical:
            chosen = torch.randint(size, (count, 1), device=device, generator=generator)
            parts.append(torch.zeros(count, size, device=device).scatter_(1, chosen, 1.0))
        uniform = torch.rand(count, self.config.continuous, device=device, generator=generator)
        return torch.cat([*parts, uniform * 2 - 1], 1)

    @hookimpl
    def truncate_latent(self, z: Tensor, redraw: Callable[[], Tensor], threshold: float) -> Tensor:
        """Truncate only the noise. The codes stay unchanged, because categorical codes must be one-hot vectors."""
        noise = self.config.noise
        return torch.cat([truncated(z[:, :noise], lambda: redraw()[:, :noise], threshold), z[:, noise:]], 1)

    @hookimpl
    def extra_networks(self, run: Run) -> Mapping[str, ExtraNetwork]:
        outputs = sum(self.config.categorical) + 2 * self.config.continuous
        features = feature_count(run.discriminator, run)
        reader = CodePredictor(run.spec, features, self.config.units, outputs)
        return {"code_predictor": ExtraNetwork(reader, trained_by=("generator", "discriminator"))}

    @hookimpl
    def loss_terms(self, run: Run) -> Iterable[LossTerm]:
        if self.config.categorical:
            yield LossTerm("code", lambda step: self._categorical(run, step), self.config.weight)
        if self.config.continuous:
            yield LossTerm("continuous_code", lambda step: self._continuous(run, step), self.config.continuous_weight)

    def _categorical(self, run: Run, step: Step) -> Tensor:
        sizes = self.config.categorical
        codes = step.z[:, self.config.noise :].split((*sizes, self.config.continuous), 1)
        predicted = self.predict(run, step.fake_output.features).split((*sizes, 2 * self.config.continuous), 1)
        return torch.stack([categorical_loss(predicted[i], codes[i]) for i in range(len(sizes))]).sum()

    def _continuous(self, run: Run, step: Step) -> Tensor:
        count = self.config.continuous
        mean, log_deviation = self.predict(run, step.fake_output.features)[:, -2 * count :].chunk(2, 1)
        return continuous_loss(mean, log_deviation, step.z[:, -count:])

    def predict(self, run: Run, features: Tensor) -> Tensor:
        """Return Q's output for D's features (B, F): logits, then means and logarithms of standard deviations."""
        return run.networks["code_predictor"](features).float()
