"""Record of the best value of the metric `output.keep_best`.

The record decides when `best.safetensors` is written, and when a run without improvement ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gankit.errors import Problem, RecipeError
from gankit.evaluation.metrics import directions
from gankit.plugin.base import Direction
from gankit.plugin.hooks import Hooks
from gankit.recipe.recipe import Recipe


@dataclass(frozen=True)
class Best:
    """Record of the best value of one metric so far. Checkpoints contain this record."""

    metric: str
    better: Direction
    value: float | None = None
    """Best value, or None before the first finite value."""

    iteration: int = 0
    """Iteration of the best value."""

    misses: int = 0
    """Number of successive evaluations without improvement. Reset to 0 when this number ends the run."""

    evaluated: int = 0
    """Iteration of the last evaluation that this record includes."""

    def after(self, iteration: int, value: float) -> Best:
        """Return the record after one more evaluation.

        A value that is NaN, infinite or equal to the best value is no improvement.
        """
        if math.isfinite(value) and (self.value is None or improves(value, self.value, self.better)):
            return replace(self, value=value, iteration=iteration, misses=0, evaluated=iteration)
        return replace(self, misses=self.misses + 1, evaluated=iteration)

    def facts(self) -> dict[str, Any] | None:
        """Return the metric, its best value and the iteration. Return None before the first finite value."""
        return None if self.value is None else {"metric": self.metric, "value": self.value, "iteration": self.iteration}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def restored(self, saved: Mapping[str, Any] | None) -> Best:
        """Return the record that `saved`, a result of `to_json`, contains.

        If `saved` is None or belongs to another metric, return this record.
        """
        return Best(**saved) if saved is not None and saved["metric"] == self.metric else self


def improves(value: float, best: float, better: Direction) -> bool:
    """Return True if a value is strictly better than the best value so far."""
    return value < best if better == "lower" else value > best


def first_best(recipe: Recipe, hooks: Hooks) -> Best | None:
    """Return the record of a new run, or None if the recipe has no `output.keep_best`.

    Raises:
        RecipeError: the recipe has no such metric, or the metric does not declare whether lower or higher is better.
    """
    if (metric := recipe.output.keep_best) is None:
        return None
    known = directions({i.key: i.plugin for i in hooks.of("compute_metrics")})
    if metric in known:
        return Best(metric, known[metric])
    names = f"it has {', '.join(known)}" if known else "it has none"
    message = (
        f"{metric!r} given; the recipe needs a metric of this name that declares if lower or higher is better, and "
        f"{names}. Add the metric, such as [metrics.frechet_distance]; in your own metric, set the class attribute "
        f'better = {{"{metric}": "lower"}}'
    )
    raise RecipeError(recipe.source, [Problem("output.keep_best", message)])
