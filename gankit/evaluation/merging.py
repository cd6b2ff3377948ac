"""Metrics of merged generators: along the line between two generators, and for the choice of an ensemble's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gankit.errors import InputError
from gankit.evaluation.standalone import metric_of
from gankit.plugin.base import Plugin
from gankit.plugin.registry import Registry
from gankit.sampling.merging import merge

POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Places on the line between two generators at which a metric is computed."""

ROUNDS = 5
"""Number of rounds of the choice of weights. All weights are multiples of 1/1 to 1/5."""


@dataclass(frozen=True)
class Score:
    """Metric of merged generators.

    Args:
        paths: generator files or run directories.
        metric: name of the metric, such as `frechet_distance`.
        against: real images, as for `evaluate`. None means the training data of the first generator.
        changes: settings of the evaluation, as for `evaluate`.
        device: device to use.
        trust: as for `evaluate`.
    """

    paths: Sequence[str | Path]
    metric: str
    against: str | None = None
    changes: Any = None
    device: str = "auto"
    trust: bool = False

    def of(self, weights: Sequence[float], ensemble: bool) -> float:
        """Return the metric of an average of the generators' weights, or of an ensemble.

        Raises:
            InputError: the generators cannot be merged, or the metric does not apply.
        """
        with TemporaryDirectory() as folder:
            file = Path(folder) / "merged.safetensors"
            merge(self.paths, file, weights, ensemble, self.trust)
            try:
                return metric_of(file, self.metric, self.against, self.changes or {}, self.device, self.trust)
            except InputError as error:  # The temporary file has no meaning for the user.
                raise InputError(str(error).replace(str(file), ", ".join(map(str, self.paths)))) from error


def along_line(score: Callable[[tuple[float, ...]], float]) -> Iterator[tuple[float, float]]:
    """Yield t and the metric of the average (1 - t) A + t B, for `POINTS`. `score` returns the metric of weights.

    A hill between the ends is a barrier: the two generators then have no useful average.

    Source: Frankle 2020 (linear mode connectivity), section 2.
    """
    for t in POINTS:
        yield t, score((1 - t, t))


def chosen_weights(
    score: Callable[[tuple[float, ...]], float], count: int, higher: bool = False
) -> tuple[tuple[float, ...], float]:
    """Return the weights of `count` generators with the best metric, and this metric, by greedy selection.

    In each round, the generator is added, with replacement, with which the ensemble is best. The weight of a generator
    is its share of the rounds so far.

    Source: Caruana 2004 (ensemble selection), sections 2 and 2.1.

    Args:
        score: function that returns the metric of weights.
        count: number of generators.
        higher: True if higher values of the metric are better.
    """
    known, sign = cache(score), -1 if higher else 1
    counts = [0] * count
    tried: list[tuple[float, ...]] = []
    for round_ in range(1, ROUNDS + 1):
        candidates = [tuple((n + (i == k)) / round_ for i, n in enumerate(counts)) for k in range(count)]
        tried += candidates
        counts[min(range(count), key=lambda k: sign * known(candidates[k]))] += 1
    best = min(tried, key=lambda weights: sign * known(weights))
    return best, known(best)


def is_higher_better(metric: str) -> bool:
    """Return True if higher values of a metric are better.

    Raises:
        InputError: there is no such metric plugin, or neither direction is better.
    """
    plugin = Registry.installed().find(metric, ("metric",), Path()).target
    assert issubclass(plugin, Plugin), "the registry returns plugins of the kind"
    better = plugin.better.get(metric)
    if better is None:
        raise InputError(f"--choose {metric}: neither lower nor higher values are better; choose frechet_distance")
    return better == "higher"
