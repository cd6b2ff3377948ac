"""Class metrics: number of covered classes, class distribution, and agreement with the requested classes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run


def num_covered(predicted: Tensor, classes: int, share: float) -> Tensor:
    """Return the number of covered classes out of K = `classes`, for predicted classes (N,).

    A class is covered if it has at least one prediction, and at least `share` times N / K predictions.
    """
    counts = torch.bincount(predicted, minlength=classes)
    return (counts >= max(1, share * len(predicted) / classes)).sum()


def class_divergence(fake: Tensor, real: Tensor, classes: int) -> Tensor:
    """Return KL(generated || real), in nats, for predicted classes of generated images (M,) and real images (N,).

    For a class without real images, the count is set to 1/2, because the divergence would otherwise be infinite.

    Source:
        Metz 2016, section 3.3; Srivastava 2017.
    """
    p = torch.bincount(fake, minlength=classes).double() / len(fake)
    q = torch.bincount(real, minlength=classes).double().clamp(min=0.5)
    q /= q.sum()
    return torch.where(p > 0, p * (p / q).log(), 0.0).sum()


def class_accuracies(
    predicted: Tensor, requested: Tensor, requested_names: Sequence[str], names: Sequence[str]
) -> list[float]:
    """Return the accuracy for each requested class: the proportion of its images that are classified correctly.

    Classes are compared by name. Requested classes that the classifier does not have are left out.

    Args:
        predicted: predicted classes (N,), indices into `names`, the classifier's classes.
        requested: requested classes (N,), indices into `requested_names`, the generator's classes.
    """
    return [
        (predicted[requested == c] == names.index(requested_names[c])).double().mean().item()
        for c in requested.unique().tolist()
        if requested_names[c] in names
    ]


class Modes(Plugin):
    """Number and distribution of the classes of generated images, and agreement with the requested classes.

    `modes` is the number of covered classes. As in the papers, a class is covered if it has at least one image. The
    setting `share` can require more images. `mode_divergence` is the Kullback-Leibler divergence KL(generated || real)
    of the class histograms. Both histograms are computed from the classifier's predictions. For conditional generators,
    `as_asked` is the proportion of images that are classified as the requested class. This proportion is averaged over
    the classes that both generator and classifier have. `as_asked_worst` is the proportion for the worst class. If
    fewer than half of the classes are covered in the last evaluation, the run logs a warning.

    Source: Metz 2016, section 3.3; Srivastava 2017, section 4.1; Lin 2018.

    When to use: with any dataset with labels, and the extractor `classifier`.
    When not: with an extractor whose classes are not the classes of the dataset. The metric then has no value.
    """

    name = "modes"
    kind = "metric"
    better: ClassVar = {"modes": "higher", "mode_divergence": "lower", "as_asked": "higher", "as_asked_worst": "higher"}

    class Config(Settings):
        share: float = Field(
            0.0,
            ge=0,
            le=1,
            description="proportion of an equal share of the images from which a class is covered; 0: by one image",
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.last_coverage: tuple[int, int] | None = None
        """Number of covered image classes in the last evaluation, and the largest possible number."""

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        names = comparison.extractor.class_names
        fake_logits, real_logits = (comparison.fake_logits, comparison.real_logits) if names else (None, None)
        if fake_logits is None or real_logits is None:
            return None
        K, predicted = len(names), fake_logits.argmax(1)
        modes = int(num_covered(predicted, K, self.config.share))
        self.last_coverage = modes, min(K, len(predicted))
        metrics = {
            "modes": float(modes),
            "mode_divergence": class_divergence(predicted, real_logits.argmax(1), K).item(),
        }
        requested = comparison.fake.labels
        if requested is None:
            return metrics
        accuracies = class_accuracies(predicted, requested, comparison.fake.class_names or names, names)
        return metrics | ({"as_asked": fmean(accuracies), "as_asked_worst": min(accuracies)} if accuracies else {})

    @hookimpl
    def on_stop(self, run: Run) -> None:
        if self.last_coverage is None:
            return
        covered, total = self.last_coverage
        if covered < total / 2:
            run.warn(
                f"modes is {covered}: the images cover fewer than half of the {total} possible classes. G has "
                "collapsed to a few of them, or has not learnt yet. The most effective remedies in docs/modes.md: "
                "packing, gradient_penalty, r1"
            )
