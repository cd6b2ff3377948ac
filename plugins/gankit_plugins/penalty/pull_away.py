"""Pull-away term of EBGAN: a penalty on generated images with similar codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, RecipeInfo, Scheduled, Settings, Step, hookimpl


def pull_away(codes: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x, ranks: int = 1, rank: int = 0) -> Tensor:
    """Return the mean squared cosine similarity of codes (N, F) over all pairs of images (Zhao 2016, equation 4).

    The result is a scalar in float32 or a wider type: 0 for orthogonal codes, 1 for parallel codes, and 0 for a single
    code.

    Args:
        codes: codes of this rank's images.
        mean: function that averages a tensor over the ranks that share the batch.
        ranks: number of these ranks.
        rank: index of this rank.
    """
    directions = F.normalize(codes.to(torch.promote_types(codes.dtype, torch.float32)), dim=1)
    if ranks > 1:
        # Gather the codes of all ranks. Each rank fills only `rows[rank]`, so the sum over the ranks contains the codes
        # of all ranks.
        rows = directions.new_zeros(ranks, *directions.shape)
        rows[rank] = directions
        directions = ranks * mean(rows).flatten(0, 1)
    squares = (directions @ directions.T).square()
    pairs = len(directions) * (len(directions) - 1)
    return (squares.sum() - squares.diagonal().sum()) / max(pairs, 1)


class PullAway(Plugin):
    """Penalty for G on similar codes of the images in a generated batch (pull-away term).

    Source: Zhao 2016, section 2.4 and equation 4: the mean squared cosine similarity of all pairs of codes. The code of
    an image consists of D's features. If D is an autoencoder, these features are the output of its encoder. With
    gradient accumulation (`train.accumulate`), the pairs are formed within each micro-batch.

    When to use: with the losses `ebgan` (EBGAN-PT) or `began`, if the generated images are too similar to each other.
    When not: with features that are never negative, such as outputs of ReLU, because few such codes can be orthogonal.
    """

    name = "pull_away"
    kind = "penalty"

    class Config(Settings):
        weight: Scheduled = Field(0.1, gt=0, description="weight of the term in G's loss")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        train = recipe.train
        if train.batch_size // train.accumulate < 2:
            raise ValueError("the term compares pairs, and each part of a batch has one image; use larger batches")
        if train.accumulate > 1:
            yield (
                f"with train.accumulate the pairs are within one of {train.accumulate} parts of the batch, so the "
                "result differs from that of the whole batch"
            )
        if recipe.plugin_class("discriminator").per_class_networks:
            yield (
                f"{recipe.use_of('discriminator')} has a separate network for each class, so the features of images "
                "from different classes are not comparable; use a discriminator for all classes"
            )

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "generator":
            yield LossTerm("pull_away", _term, weight=self.config.weight)


def _term(step: Step) -> Tensor:
    ranks = step.run.ranks
    return pull_away(step.fake_output.features, ranks.mean, ranks.size, ranks.rank)
