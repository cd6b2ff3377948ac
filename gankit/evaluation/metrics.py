"""Computation of metrics by plugins. The metrics compare generated samples with real samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gankit.errors import GankitError, InputError
from gankit.plugin.base import Direction, Plugin
from gankit.plugin.comparison import Comparison

Metric = Callable[[Comparison], Mapping[str, float] | None]


class MetricResults(NamedTuple):
    """Results of all metrics of one comparison. A key is the recipe key of a metric's plugin, such as `metrics.fid`."""

    numbers: dict[str, float]
    keys: dict[str, str]  # key of the plugin that computed each number: `{"precision": "metrics.precision_recall"}`

    not_applicable: list[str]  # keys of metrics that do not apply, for example class metrics on unlabelled data

    failed: dict[str, GankitError]  # errors of the metrics that failed, by key

    def checked(self) -> MetricResults:
        """Return these results, or raise InputError with one line for each metric that failed."""
        if self.failed:
            raise InputError("\n".join(f"{key}: {error}" for key, error in self.failed.items()))
        return self


def compute_all(metrics: Mapping[str, Metric], comparison: Comparison) -> MetricResults:
    """Compute all metrics of a comparison. If a metric fails, record its error and compute the other metrics.

    The keys of `metrics` are the recipe keys of the plugins, such as `metrics.fid`.
    """
    results = MetricResults({}, {}, [], {})
    for key, metric in metrics.items():
        try:
            numbers = metric(comparison)
        except GankitError as error:
            results.failed[key] = error
            continue
        if not numbers:
            results.not_applicable.append(key)
            continue
        for name, value in numbers.items():
            # If a recipe uses the same metric plugin under two keys, the names of the results are equal. Therefore, put
            # the second key before the names of the second plugin's results.
            unique = f"{key}.{name}" if name in results.numbers else name
            results.numbers[unique], results.keys[unique] = value, key
    return results


def directions(plugins: Mapping[str, Plugin]) -> dict[str, Direction]:
    """Return "lower" or "higher" for each metric, depending on which values are better.

    A key of the result is the metric's name in the results of `compute_all`. Metrics without a declared direction are
    omitted. `plugins` are the plugins with metrics, by their keys in the recipe, in the order of the recipe.
    """
    known: dict[str, Direction] = {}
    for key, plugin in plugins.items():
        for name, better in plugin.better.items():
            known[f"{key}.{name}" if name in known else name] = better
    return known
