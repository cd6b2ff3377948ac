"""Projection discriminator: the inner product of an embedded condition and D's features is added to D's logits."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from gankit import (
    ClassCondition,
    DiscriminatorOutput,
    InputError,
    Player,
    Plugin,
    RecipeInfo,
    Run,
    Spec,
    VectorCondition,
    hookimpl,
    match_logits,
)
from gankit_plugins.layers.conditioning import require_conditional
from gankit_plugins.layers.probe import feature_count


def inner_product(embedded: Tensor, features: Tensor) -> Tensor:
    """Return <V_y, phi(x)> of each image, (B,), for embeddings V_y and features phi(x), both (B, F)."""
    return (embedded * features).sum(1)


class ProjectionDiscriminator(nn.Module):
    """Discriminator that adds the inner product of an embedded condition and D's features to all logits of an image.

    Args:
        network: D, with logits (B, ...) and features (B, F).
        embedding: embedding of the condition, which maps labels (B,) or numbers (B, K) to vectors (B, F).
    """

    def __init__(self, network: nn.Module, embedding: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.embedding = embedding

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B, ...) and features (B, F) of images (B, C, H, W).

        The condition is labels (B,) or numbers (B, K).
        """
        assert condition is not None, "a conditional discriminator needs a condition"
        output = DiscriminatorOutput(*self.network(images, condition))
        logits = output.logits
        share = inner_product(self.embedding(condition), output.features).to(logits.dtype)
        return output._replace(logits=logits + match_logits(share, logits))


class Projection(Plugin):
    """Condition as an input of D: the inner product of an embedded condition and D's features is added to the logit.

    Source: Miyato and Koyama 2018, equation 4: the logit is <V_y, phi(x)> + psi(phi(x)). Here phi(x) is the input of
    D's last layer, and psi is the last layer. If D has several logits for an image, the inner product is added to each
    logit. As in the paper, `spectral_norm` in the discriminator also divides the embedding matrix V by its largest
    singular value. Other normalisations do not apply to V. V is initialised from Glorot's uniform distribution.

    If the condition consists of K numbers c, such as attributes, the embedding is V c, with a matrix V of K columns.
    For one-hot vectors, this is the embedding of the paper.

    When to use: with a conditional generator and a discriminator that takes no condition, such as `dcgan` and
    `stylegan2`.
    When not: with one discriminator per class, because each class then already has its own last layer.
    """

    name = "projection"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.plugin_class("discriminator").per_class_networks:
            yield (
                f"{recipe.use_of('discriminator')} has a last layer for each class already, so the projection adds "
                "nothing; remove it, or use a discriminator for all classes"
            )

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if not isinstance(spec.condition, ClassCondition | VectorCondition):
            has = "no condition" if spec.condition is None else spec.condition.describe()
            raise InputError(f"the data have {has}, and the projection needs classes or numbers; remove it")

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None, spec: Spec) -> nn.Module:
        if player == "generator" or run is None:
            return network
        require_conditional(spec, run)
        features = feature_count(network, run)
        assert spec.condition is not None, "adjust_spec has refused data without a condition"
        table = (
            nn.Embedding(spec.classes, features)
            if spec.classes
            else nn.Linear(spec.condition.shape[0], features, bias=False)
        )
        nn.init.xavier_uniform_(table.weight)
        embedding: nn.Module = table
        # Apply only spectral norm. Normalisations of outputs, such as batch norm, would change the inner product of
        # equation 4.
        if run.recipe.use_of("normalization.discriminator") == "spectral_norm":
            embedding = spec.normalize("discriminator", embedding, features)
        return ProjectionDiscriminator(network, embedding)
