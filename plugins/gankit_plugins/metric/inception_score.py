"""How sure and how varied a classifier is about generated images."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl


def inception_score(logits: Tensor) -> Tensor:
    """exp(E_x KL(p(y|x) || p(y))) of (N, K) logits (Salimans 2016, section 4): from 1 to K."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    log_marginal = p.mean(0).log()
    # 0 ln 0 is 0.
    divergence = torch.where(p == 0, 0.0, p * (log_p - log_marginal)).sum(1)
    return divergence.mean().exp()


class InceptionScore(Plugin):
    """How sure the extractor's classifier is of each image, and how many classes it sees in all; higher is better.

    Source: Salimans 2016, section 4, over all images at once, where the authors average ten splits. It never looks at
    real images. Without classes the extractor says nothing, and neither does this.

    When to use: to compare with old papers.
    When not: anything else: one perfect image of each class, drawn again and again, has the best score (Barratt 2018).
    """

    name = "inception_score"
    kind = "metric"

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        logits = comparison.fake_logits
        return None if logits is None else {"inception_score": inception_score(logits).item()}
