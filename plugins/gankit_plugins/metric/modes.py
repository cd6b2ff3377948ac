"""How many classes of a dataset a generator covers, and whether it draws those that it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run


def covered(seen: Tensor, classes: int, share: float) -> Tensor:
    """How many classes hold an image, and at least `share` of what an even spread would give each, of (N,) classes
    seen."""
    counts = torch.bincount(seen, minlength=classes)
    return (counts >= max(1, share * len(seen) / classes)).sum()


def divergence_from(seen: Tensor, real: Tensor, classes: int) -> Tensor:
    """KL(generated || real) of the histograms over classes, in nats (Metz 2016, section 3.3; Srivastava 2017).

    A class that no real image is of counts as if half an image were.
    """
    p = torch.bincount(seen, minlength=classes).double() / len(seen)
    q = torch.bincount(real, minlength=classes).double().clamp(min=0.5)
    q /= q.sum()
    return torch.where(p > 0, p * (p / q).log(), 0.0).sum()


def shares_as_asked(seen: Tensor, asked: Tensor, asked_names: Sequence[str], names: Sequence[str]) -> list[float]:
    """For each class asked for that the classifier knows, the share of images that it takes for that class.

    Args:
        seen: (N,) classes seen, of `names`.
        asked: (N,) classes asked for, of `asked_names`.
        asked_names, names: of the generator's classes and of the classifier's, which may be others in another order.
    """
    return [
        (seen[asked == c] == names.index(asked_names[c])).double().mean().item()
        for c in asked.unique().tolist()
        if asked_names[c] in names
    ]


class Modes(Plugin):
    """The classes that a classifier finds among the generated images, and whether they are those asked for.

    Source: Metz 2016, section 3.3, and Srivastava 2017, section 4.1, for modes and the divergence. `modes` is how many
    classes are covered, by one image at least, as in both and in Lin 2018, or by more (`share`); `mode_divergence` the
    Kullback-Leibler divergence of their histogram from that of the real images, as the classifier sees both; for a
    generator that is told classes, `as_asked` is the share of images that the classifier takes for the class asked for,
    the mean over the classes that both know by name, and `as_asked_worst` that of the worst class. A run that
    ends with fewer than half of the classes says so.

    When to use: any dataset with labels, and the extractor `classifier`.
    When not: an extractor with other classes than the dataset's; it says nothing then.
    """

    name = "modes"
    kind = "metric"

    class Config(Settings):
        share: float = Field(
            0.0,
            ge=0,
            le=1,
            description="of an even share of the images, from which a class is covered; 0: one is enough",
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.newest: tuple[int, int] | None = None
        """How many classes were covered when it was measured last, and how many could have been."""

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        names = comparison.extractor.class_names
        if not names:
            return None
        fake, real = comparison.fake_logits, comparison.real_logits
        if fake is None or real is None:
            return None
        K, seen = len(names), fake.argmax(1)
        modes = int(covered(seen, K, self.config.share))
        self.newest = modes, min(K, len(seen))
        found = {
            "modes": float(modes),
            "mode_divergence": divergence_from(seen, real.argmax(1), K).item(),
        }
        asked = comparison.fake.labels
        if asked is None:
            return found
        shares = shares_as_asked(seen, asked, comparison.fake.class_names or names, names)
        return found | ({"as_asked": fmean(shares), "as_asked_worst": min(shares)} if shares else {})

    @hookimpl
    def on_stop(self, run: Run) -> None:
        """A run that ends with few classes shall not be taken for a good one."""
        if self.newest is None:
            return
        found, there = self.newest
        if found < there / 2:
            run.warn(
                f"modes is {found}: the generated images are of fewer than half of the {there} classes that they could "
                "be of. G has collapsed to few of them, or has not learnt yet. What helped most often where it was "
                "measured (docs/modes.md): packing, gradient_penalty, r1"
            )
