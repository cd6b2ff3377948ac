"""Semi-supervised discriminator: D classifies images, of which only a few have a label."""

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
    RecipeInfo,
    Run,
    Scheduled,
    Settings,
    Spec,
    Step,
    as_input,
    hookimpl,
)
from gankit_plugins.layers.class_logits import (
    CLASS_LOGITS,
    CLASSES,
    LABEL,
    UNLABELLED,
    ClassifyingDiscriminator,
    class_loss,
)
from gankit_plugins.layers.probe import feature_count


def real_logit(class_logits: Tensor) -> Tensor:
    """Return ln Z(x), (B,), for class logits l_k(x), (B, K), with Z(x) = sum_k exp l_k(x), in float32 or wider.

    It is the logit of D(x) = Z(x) / (Z(x) + 1), the probability that x is real. The K-logit form is a softmax over
    K + 1 classes, whose last class is `generated` and has the logit 0.

    Source: Salimans 2016, section 5.
    """
    return class_logits.to(torch.promote_types(class_logits.dtype, torch.float32)).logsumexp(1)


class SemiSupervisedDiscriminator(ClassifyingDiscriminator):
    """Classifying discriminator whose logit of real and generated is the log-sum-exp of its class logits."""

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return the output of D for images (B, ...), with logits (B,) computed from class logits (B, K)."""
        output = super().forward(images, labels)
        return output._replace(logits=real_logit(output.extra[CLASS_LOGITS]))


class SemiSupervised(Plugin):
    """Discriminator that also classifies the images. Only a few real images need a label.

    Source: Salimans 2016, section 5. A linear layer on D's features has a logit for each of the K classes, and replaces
    D's last layer. D(x) = Z / (Z + 1), where Z is the sum of the exponentials of the class logits. With the loss
    `non_saturating`, D's loss on all real images and on generated images is the paper's unsupervised loss. The term
    `supervised` is the cross entropy of the class of labelled images. They are a batch of their own in each step, as
    large as that of the real images, so each labelled image is used often. The paper trains G with the trick
    `feature_matching`.

    When to use: if many images and few labels are available, and the classifier is wanted. The metric
    `classifier_accuracy` measures it. Data: `few_labels`.
    When not: for the best images; the paper finds that a good classifier and good images need different settings.
    """

    name = "semi_supervised"

    class Config(Settings):
        weight: Scheduled = Field(1.0, ge=0, description="weight of the class loss of labelled images in D's loss")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not recipe.plugin_class("loss").cross_entropy:
            yield (
                f"the loss {recipe.use_of('loss')} does not use D(x) = Z / (Z + 1) as a probability; the loss of the "
                "paper is non_saturating"
            )

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if LABEL not in spec.fields or CLASSES not in spec.encoding:
            raise InputError("the data have no images with and without a label; use the data few_labels")
        if spec.latent_pairs:
            raise InputError("the discriminator takes pairs of an image and z, and labelled images have no z")

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None, spec: Spec) -> nn.Module:
        if player == "generator" or run is None:
            return network
        if spec.pack > 1:
            raise InputError("semi_supervised classifies single images, and packing joins several; remove one")
        return SemiSupervisedDiscriminator(network, feature_count(network, run), len(spec.encoding[CLASSES]))

    @hookimpl
    def on_start(self, run: Run) -> None:
        rows = run.dataset.read()
        chosen = rows.fields[LABEL] != UNLABELLED
        self.images, self.labels = (one[chosen].to(run.device) for one in (rows.images, rows.fields[LABEL]))

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm("supervised", self._term, self.config.weight)

    def _term(self, step: Step) -> Tensor:
        chosen = torch.randint(len(self.labels), (len(step.real),), device=self.labels.device)
        inputs, condition = step.run.discriminator_inputs(as_input(self.images[chosen]), None, "real", step)
        return class_loss(step.discriminate(inputs, condition).extra[CLASS_LOGITS], self.labels[chosen])
