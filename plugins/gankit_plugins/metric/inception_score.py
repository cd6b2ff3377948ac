"""Inception score: confidence and variety of a classifier's predictions for generated images."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl


def inception_score(logits: Tensor) -> Tensor:
    """Return `exp(E_x KL(p(y|x) || p(y)))` for logits (N, K): a score from 1 to K (Salimans 2016, section 4)."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    log_marginal = p.mean(0).log()
    # At `p = 0`, set `p log p` to 0, which is its limit.
    divergence = torch.where(p == 0, 0.0, p * (log_p - log_marginal)).sum(1)
    return divergence.mean().exp()


class InceptionScore(Plugin):
    """Confidence and variety of the extractor's class predictions; higher is better.

    Source: Salimans 2016, section 4. The score is computed over all images. The authors average the score over ten
    splits of the images. Real images are not used. If the extractor returns no logits, the metric has no value.

    When to use: to compare with old papers.
    When not: for any other purpose. A generator with one perfect image of each class has the best score (Barratt 2018).
    """

    name = "inception_score"
    kind = "metric"
    better: ClassVar = {"inception_score": "higher"}

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        logits = comparison.fake_logits
        return None if logits is None else {"inception_score": inception_score(logits).item()}
