"""Top-k training: G learns only from the generated images with the largest logits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import Field

from gankit import LossTerm, Player, Plugin, RecipeInfo, Run, Settings, Step, hookimpl

REPLACING = ("relativistic", "relativistic_average", "feature_matching")
"""Names of tricks that replace G's loss terms. After `top_k` in a recipe, they would undo the selection of images."""


def kept_share(iteration: int, decay: float, every: int, final: float) -> float:
    """Return the share of the batch with which G is trained: `max(final, decay^n)` with `n = iteration // every`."""
    return max(final, decay ** (iteration // every))


def top_k(step: Step, share: float) -> Step:
    """Return a copy of the step with only the generated images that have the largest logits.

    The copy keeps the fraction `share` of the images, but at least one image. If D has several logits for an image,
    their mean is used.
    """
    logits = step.fake_output.logits.detach().reshape(step.num_inputs, -1).mean(1)
    k = max(1, int(share * len(logits)))
    return step if k == len(logits) else step.slice(logits.topk(k).indices)


class TopK(Plugin):
    """Loss of G over only the generated images with the largest logits in a batch.

    Source: Sinha 2020 (Top-k Training of GANs), section 3.1. The gradients of the worst images can point away from the
    data. The number of images, k, starts at the batch size. After every `every` iterations, k is multiplied by `decay`,
    until k reaches the share `final` of the batch. The paper reduces k once per epoch. D is trained with all images.
    The images are selected in each micro-batch (gradient accumulation) and on each rank. If G's loss also uses real
    images, it uses only k of them.

    When to use: late in the training, to improve the images of a GAN that works.
    When not: if modes are missing, because the images of a new mode often have the smallest logits.
    """

    name = "top_k"

    class Config(Settings):
        final: float = Field(0.5, gt=0, le=1, description="nu, smallest share of the batch that is kept")
        decay: float = Field(0.99, gt=0, le=1, description="gamma, factor of each reduction")
        every: int = Field(100, ge=1, description="iterations between two reductions; paper: one epoch")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.uses("packing"):
            raise ValueError(
                "with packing, one input of D has several images, so single images cannot be selected; remove one"
            )
        names = [component.plugin_class.name for component in recipe.components.values()]
        for name in names[names.index(self.name) :]:
            if name in REPLACING:
                raise ValueError(f"{name} comes after top_k and replaces G's loss; put top_k after it")
        return ()

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]], run: Run) -> dict[Player, list[LossTerm]]:
        def on_top_k(term: LossTerm) -> LossTerm:
            return replace(term, function=lambda step: term.function(top_k(step, self.share(run))))

        return terms | {"generator": [on_top_k(term) for term in terms["generator"]]}

    def share(self, run: Run) -> float:
        """Return the share of the batch with which G is trained at the run's current iteration."""
        return kept_share(run.iteration, self.config.decay, self.config.every, self.config.final)
