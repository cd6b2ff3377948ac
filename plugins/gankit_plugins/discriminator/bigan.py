"""BiGAN: a discriminator of pairs of an image and its z, and an encoder that is trained with G (Donahue 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import (
    DiscriminatorOutput,
    ExtraNetwork,
    LossTerm,
    Player,
    Plugin,
    RecipeInfo,
    Run,
    Settings,
    Source,
    Spec,
    Step,
    hookimpl,
)
from gankit_plugins.layers.bigan import SLOPE, hidden_layers
from gankit_plugins.layers.dcgan import initialized
from gankit_plugins.layers.exchange import exchange_sides

REFUSED = {
    "packing": "one input of D has several images, but one z",
    "experience_replay": "D's images do not correspond to the z of the step",
    "gradient_penalty": "points between real and fake images have no z",
    "zero_centered_penalty": "points between real and fake images have no z",
    "minibatch_discrimination": "it compares images of equal labels, and D gets z in place of labels",
    "minibatch_stddev": "it compares images of equal labels, and D gets z in place of labels",
    "virtual_batch_norm": "its reference batch has images without z, and does not pass through E",
    "conditional_batch_norm": "E has G's normalisation, and gets no labels",
    "projection": "D gets z in place of labels",
    "auxiliary_classifier": "D gets z in place of labels",
}
"""Names of plugins that cannot be combined with a discriminator of pairs (image, z), and the reason for each."""

REFUSED_IN = {
    "loss": {"ebgan": "D reconstructs no images", "began": "D reconstructs no images"},
    "latent": {
        "infogan": "its codes are predicted without the z that D needs",
        "mgan": "D could read the number of the generator from z",
    },
}
"""Losses and priors that cannot be combined with a discriminator of pairs (image, z), and the reason for each.

They are listed by kind, because plugins of other kinds may have the same names.
"""


class BiganDiscriminatorNetwork(nn.Module):
    """Fully connected network that maps a pair of an image and its z to one logit."""

    def __init__(self, spec: Spec, units: int) -> None:
        super().__init__()
        inputs = math.prod(spec.shape) + spec.latent_size
        self.hidden = hidden_layers(spec, "discriminator", inputs, units, nn.LeakyReLU(SLOPE))
        self.head = initialized(nn.Linear(units, 1))

    def forward(self, images: Tensor, z: Tensor) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, units) of pairs of images (B, C, H, W) and z (B, latent_size)."""
        features = self.hidden(torch.cat([images.flatten(1), z.to(images.dtype)], 1))
        return DiscriminatorOutput(self.head(features).flatten(), features)


class Encoder(nn.Module):
    """Network E, which maps images (B, C, H, W) to z (B, latent_size)."""

    def __init__(self, spec: Spec, units: int) -> None:
        super().__init__()
        self.hidden = hidden_layers(spec, "generator", math.prod(spec.shape), units, nn.LeakyReLU(SLOPE))
        self.to_z = initialized(nn.Linear(units, spec.latent_size))

    def forward(self, images: Tensor) -> Tensor:
        return self.to_z(self.hidden(images.flatten(1)))


class BiganDiscriminator(Plugin):
    """Discriminator of pairs (image, z), and an encoder E that learns the inverse of G (BiGAN, ALI).

    Source: Donahue 2017, equation 3; Dumoulin 2017, equation 2. D separates real pairs (x, E(x)) from generated pairs
    (G(z), z). G and E minimise D's loss with exchanged targets: real pairs count as generated, and generated pairs as
    real. With cross entropy, G and E minimise -E[ln(1 - D(x, E(x)))] - E[ln D(G(z), z)] (Donahue 2017, section 3.4). At
    the optimum, E is the inverse of G. These loss terms replace the terms of the recipe's `loss` for G. The
    command `gankit reconstruct RUN` draws images x and their reconstructions G(E(x)) side by side.

    The networks are those for MNIST in Donahue 2017, appendix C. D and E have two hidden layers of 1,024 units with
    LeakyReLU 0.2. The normalisation comes before the second LeakyReLU: `normalization.discriminator` for D,
    `normalization.generator` for E (paper: batch norm without scale and shift). Initial weights are from N(0, 0.02^2).
    D and E do not use labels.

    When to use: to find the z of an image, with the prior `uniform` and the generator `bigan`.
    When not: for exact reconstructions, because no loss term compares the pixels of x and G(E(x)).
    """

    name = "bigan"
    kind = "discriminator"

    class Config(Settings):
        units: int = Field(1024, ge=1, description="units of each hidden layer of D")
        encoder_units: int = Field(1024, ge=1, description="units of each hidden layer of E")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        refused = [(name, reason) for name, reason in REFUSED.items() if recipe.uses(name)]
        refused += [
            (f"the {key} {name}", reason)
            for key, names in REFUSED_IN.items()
            for name, reason in names.items()
            if recipe.use_of(key) == name
        ]
        for name, reason in refused:
            raise ValueError(f"D takes pairs of an image and z, and with {name}, {reason}; remove one of the two")
        if recipe.use_of("loss") == "minimax":
            yield "G's terms are D's terms with exchanged labels, so minimax has the effect of non_saturating"
        if recipe.uses("feature_matching"):
            yield "feature_matching replaces the loss of G and E; set its adversarial_weight to keep the loss of BiGAN"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.latent_pairs = True

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return BiganDiscriminatorNetwork(spec, self.config.units)

    @hookimpl
    def extra_networks(self, run: Run) -> Mapping[str, ExtraNetwork]:
        return {"encoder": ExtraNetwork(Encoder(run.spec, self.config.encoder_units), trained_by=("generator",))}

    @hookimpl
    def discriminator_inputs(self, images: Tensor, source: Source, run: Run, step: Step) -> tuple[Tensor, Tensor]:
        return images, self.encode(run, images) if source == "real" else step.z

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]]) -> dict[Player, list[LossTerm]]:
        def exchanged(term: LossTerm) -> LossTerm:
            return replace(term, function=lambda step: term.function(exchange_sides(step)))

        return terms | {"generator": [exchanged(term) for term in terms["discriminator"]]}

    @hookimpl
    def encode(self, run: Run, images: Tensor) -> Tensor:
        return run.networks["encoder"](images).float()
