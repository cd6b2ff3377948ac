"""Auxiliary classifier: D predicts the class of its input, and G learns to generate images of the requested class."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import (
    DiscriminatorOutput,
    InputError,
    LossTerm,
    Player,
    Plugin,
    Run,
    Scheduled,
    Settings,
    Spec,
    Step,
    hookimpl,
)
from gankit_plugins.layers.class_logits import CLASS_LOGITS, ClassifyingDiscriminator, class_loss
from gankit_plugins.layers.conditioning import require_conditional, require_labels
from gankit_plugins.layers.probe import feature_count, probe


class AuxiliaryClassifier(Plugin):
    """Classifier in D that predicts the class of an image. G learns to generate the requested class (AC-GAN).

    Source: Odena 2016, equations 2 and 3. The recipe's `loss` replaces equation 2, the loss for real and fake images. A
    linear layer on D's features predicts the class. D minimises the cross entropy of the class on real and on generated
    images. G minimises this cross entropy on its images. With the trick `packing`, D classifies packs of images,
    because all images of a pack have the same class. Discriminators that take the label as an input are rejected,
    because they could classify without the image.

    When to use: to generate requested classes, with a conditional generator and a discriminator without labels, such as
    `dcgan`.
    When not: with many similar classes; use `projection`. With such classes, G prefers images that are easy to
    classify, and the images become less varied (Miyato and Koyama 2018).
    """

    name = "auxiliary_classifier"

    class Config(Settings):
        real_weight: Scheduled = Field(1.0, gt=0, description="weight of the class loss on real images in D's loss")
        fake_weight: Scheduled = Field(
            1.0, ge=0, description="weight of the class loss on generated images in D's loss"
        )
        generator_weight: Scheduled = Field(1.0, gt=0, description="weight of the class loss in G's loss")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        require_labels(spec, self.name, "the prior infogan")

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None, spec: Spec) -> nn.Module:
        if player == "generator" or run is None:
            return network
        require_conditional(spec, run)
        if not torch.allclose(probe(network, run).features, probe(network, run, shift=1).features):
            raise InputError(
                f"the discriminator {run.recipe.use_of('discriminator')} takes the label as an input, so it could "
                "classify without the image; use a discriminator without labels, such as dcgan"
            )
        return ClassifyingDiscriminator(network, feature_count(network, run), spec.classes)

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        c = self.config
        if player == "generator":
            yield LossTerm("class", fake_class_loss, c.generator_weight)
            return
        yield LossTerm("real_class", real_class_loss, c.real_weight)
        if c.fake_weight:
            yield LossTerm("fake_class", fake_class_loss, c.fake_weight)


def real_class_loss(step: Step) -> Tensor:
    """Return the class loss of D's real inputs."""
    return loss_of(step.real_output, step.real_inputs[1])


def fake_class_loss(step: Step) -> Tensor:
    """Return the class loss of D's generated inputs."""
    return loss_of(step.fake_output, step.fake_inputs[1])


def loss_of(output: DiscriminatorOutput, labels: Tensor | None) -> Tensor:
    """Return the class loss of D's output. `labels` contains one label for each input of D."""
    assert labels is not None, "adjust_spec refuses data without labels"
    return class_loss(output.extra[CLASS_LOGITS], labels)
