"""Prior of MGAN, a mixture of generators that share all layers except the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import ExtraNetwork, LossTerm, Player, Plugin, RecipeInfo, Run, Scheduled, Settings, Spec, Step, hookimpl
from gankit_plugins.latent.infogan import categorical_loss, refuse_other_inputs
from gankit_plugins.layers.probe import feature_count

Distribution = Literal["normal", "uniform"]


def draw_noise(
    count: int, size: int, distribution: Distribution, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Draw noise (count, size) from N(0, 1), or from the uniform distribution on [-1, 1)."""
    if distribution == "normal":
        return torch.randn(count, size, device=device, generator=generator)
    return torch.empty(count, size, device=device).uniform_(-1, 1, generator=generator)


def mixture_latent(noise: Tensor, choice: Tensor) -> Tensor:
    """Return z, (B, K n + K): n components for the noise of each of K generators, then the choice of a generator.

    Each row of z belongs to one generator k. The components of generator k contain the noise, and those of the other
    generators are 0. The choice is at the end, as a one-hot vector. For generator k, a linear first layer W z + b with
    W = [W_1 ... W_K, c_1 ... c_K] then computes `W_k noise + c_k + b`. Each generator thus has its own weights W_k and
    its own bias c_k. All other layers are shared.

    Args:
        noise: noise of the generators, (B, n).
        choice: generator of each row as a one-hot vector, (B, K).
    """
    return torch.cat([(choice[:, :, None] * noise[:, None, :]).flatten(1), choice], 1)


def split_latent(z: Tensor, generators: int) -> tuple[Tensor, Tensor]:
    """Return the noise (B, n) and the choice (B, K) from which `mixture_latent` computes z (B, K n + K)."""
    blocks, choice = z[:, :-generators], z[:, -generators:]
    return blocks.unflatten(1, (generators, -1)).sum(1), choice


class Mgan(Plugin):
    """Mixture of several generators, and a classifier that predicts which generator has generated an image (MGAN).

    Source: Hoang 2018, equation 3. A generator is chosen for each sample with probability 1/K. The K generators share
    all layers except the first. The classifier C is one linear layer on D's features, so it shares all of D's layers
    except the last. D and C minimise the cross entropy of C on generated images, with weight 1. The generators minimise
    `beta` times the same cross entropy, so that C can distinguish their images.

    This prior works with any generator, whose first layer then acts as K layers. For this purpose, z has separate
    components for each generator, and zeros in the components of all other generators. Normalisation of the first layer
    is shared: batch norm uses the images of all generators, and spectral norm divides all weights by one value. The
    first layer has a bias for each generator and a shared bias. If its initial weights depend on the size of z, as in
    `mlp`, these weights are smaller than for one generator.

    When to use: against mode collapse, if the data have separate modes. Each generator then covers some of the modes.
    When not: with `skip_z`, which also gives z to the shared layers. If the modes of the data touch, a large `beta`
    makes the generators avoid the regions between these modes.
    """

    name = "mgan"
    kind = "latent"

    class Config(Settings):
        generators: int = Field(10, ge=1, description="K, number of generators; 1 for an ordinary GAN")
        noise: int = Field(100, ge=1, description="number of dimensions of each generator's noise")
        distribution: Distribution = Field(
            "normal", description="distribution of the noise: N(0, 1), or uniform on [-1, 1)"
        )
        beta: Scheduled = Field(
            0.01,
            gt=0,
            description="weight of the classifier's loss in the generators' loss: the larger, the more apart",
        )

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if self.config.generators == 1:
            yield "generators = 1 is an ordinary GAN, so beta has no effect; set generators to 2 or more"
            return
        refuse_other_inputs(recipe)
        if recipe.uses("skip_z"):
            raise ValueError(
                "skip_z splits z among the levels of G, and here only the first layer may differ between generators; "
                "remove one of the two"
            )
        if recipe.plugin_class("discriminator").per_class_networks:
            raise ValueError(
                f"{recipe.use_of('discriminator')} has a network for each class, whose features one classifier of the "
                "generators cannot compare; use a discriminator for all classes, such as dcgan"
            )

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        K = self.config.generators
        spec.latent_size = K * self.config.noise + K if K > 1 else self.config.noise

    @hookimpl
    def sample_latent(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        K = self.config.generators
        noise = draw_noise(count, self.config.noise, self.config.distribution, device, generator)
        if K == 1:
            return noise
        chosen = torch.randint(K, (count, 1), device=device, generator=generator)
        return mixture_latent(noise, torch.zeros(count, K, device=device).scatter_(1, chosen, 1.0))

    @hookimpl
    def extra_networks(self, run: Run) -> Mapping[str, ExtraNetwork]:
        if self.config.generators == 1:
            return {}
        classifier = nn.Linear(feature_count(run.discriminator, run), self.config.generators)
        return {"generator_classifier": ExtraNetwork(classifier, trained_by=("discriminator",))}

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if self.config.generators > 1:
            weight = self.config.beta if player == "generator" else 1.0
            yield LossTerm("classification", lambda step: self.classification(run, step), weight)

    def classification(self, run: Run, step: Step) -> Tensor:
        """Return the cross entropy of the classifier on the generated images of a step: -E[log C_k(G_k(z))]."""
        logits = run.networks["generator_classifier"](step.fake_output.features).float()
        return categorical_loss(logits, split_latent(step.z, self.config.generators)[1])
