"""Comparison of the runs of an ablation study: the effect of each trick on each metric and on the training time."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gankit.ablation.results import MetricValue, metric_names_before, metrics_at, seconds_per_iteration
from gankit.ablation.statistics import CONFIDENCE, Effect, Verdict, holm, paired_effect, ratio_effect, verdict
from gankit.ablation.study import Study
from gankit.ablation.variants import Variant
from gankit.errors import InputError
from gankit.storage.run_dir import RunDir

Reason = Literal["not finite", "not computed at the end"]


@dataclass(frozen=True)
class Row:
    """Effect of one trick on one metric: a row of the study's table."""

    trick: str
    metric: str
    without: float  # mean of the metric over the compared runs without the trick

    effect: Effect  # metric with the trick minus metric without it, averaged over the seeds

    adjusted_p: float | None  # p-value after Holm's correction; None if there is no confidence interval
    verdict: Verdict
    failed: int  # number of seeds for which the run with or without the trick failed with a NaN or infinite value


@dataclass(frozen=True)
class LeftOut:
    """Runs of one variant that have no finite value of one metric at the last iteration, and the reason."""

    metric: str
    variant: str
    seeds: list[int]
    why: Reason


@dataclass(frozen=True)
class Cost:
    """Training cost of a trick: time per iteration with the trick, divided by the time without the trick."""

    trick: str
    ratio: Effect | None  # None if no seed has a measured time both with and without the trick


@dataclass(frozen=True)
class StudyComparison:
    """Comparison of the runs of a study: the effect and the cost of each trick, and the state of the runs."""

    rows: list[Row]
    costs: list[Cost]
    ended: int  # number of runs that have ended, including runs that failed with a NaN or infinite value

    runs: int  # number of runs in the study, including runs that have not ended
    seeds: list[int]
    failed: dict[str, list[int]]  # for each variant, seeds of the runs whose loss or parameters became NaN or infinite

    ended_early: dict[str, list[int]]  # for each variant, seeds of the runs that a plugin ended early

    unequal: dict[str, list[int]]  # for each trick, seeds whose runs with and without it ended at different iterations
    left_out: list[LeftOut]

    @property
    def comparisons(self) -> int:
        """Number of rows with a confidence interval. Holm's correction depends on this number."""
        return sum(row.effect.p is not None for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a dictionary, in the format of the study's `table.json`."""
        return {"confidence": CONFIDENCE, "comparisons": self.comparisons, **asdict(self)}


@dataclass(frozen=True)
class _Result:
    """Metrics and training time of a run that ended without an error."""

    iterations: int
    metrics: dict[str, MetricValue]  # metrics at the last iteration, by name; earlier values are not compared

    earlier: set[str]  # names of the metrics that were computed before the last iteration
    seconds: float | None

    def value(self, metric: str) -> float | None:
        """Return the value of a metric at the last iteration, or None if it is missing, NaN or infinite."""
        result = self.metrics.get(metric)
        return result.value if result is not None and math.isfinite(result.value) else None


Results = dict[tuple[str, int], _Result]  # result of each run, by (folder name of the variant, seed)

Pair = tuple[_Result, _Result]  # results of two runs with the same seed: first without a trick, then with it


def compare(study: Study) -> StudyComparison:
    """Compare the runs with and without each trick, by their metrics at the last iteration.

    Runs that have not ended are left out. Runs that failed with a NaN or infinite value are counted but not compared,
    even if they have metrics from earlier iterations.

    Raises:
        InputError: two runs computed a metric with different protocols, for example with different numbers of images.
    """
    results: Results = {}
    failed: dict[str, list[int]] = {}
    ended_early: dict[str, list[int]] = {}
    ended = 0
    for run in study.runs:
        if (outcome := run.outcome()) is None:
            continue
        ended += 1
        if outcome["failed"] is not None:
            failed.setdefault(run.variant.name, []).append(run.seed)
            continue
        if outcome["stop_reason"] is not None:
            ended_early.setdefault(run.variant.name, []).append(run.seed)
        log, end = RunDir.open(run.path).read_log(), outcome["iterations"]
        metrics, earlier = metrics_at(log, end), metric_names_before(log, end)
        results[run.variant.folder, run.seed] = _Result(end, metrics, earlier, seconds_per_iteration(log))
    _check_protocols(study, results)
    compared, costs, unequal = [], [], {}
    for variant in study.variants[1:]:
        by_seed = _pairs(study, variant, results)
        pairs = list(by_seed.values())
        missing = len({*failed.get(study.base.name, []), *failed.get(variant.name, [])})
        for metric in dict.fromkeys(name for pair in pairs for result in pair for name in result.metrics):
            both = [(before.value(metric), after.value(metric)) for before, after in pairs]
            if values := [(before, after) for before, after in both if before is not None and after is not None]:
                without = sum(before for before, _ in values) / len(values)
                effect = paired_effect([after - before for before, after in values])
                compared.append((variant.trick, metric, without, effect, missing))
        times = [(after.seconds, before.seconds) for before, after in pairs if before.seconds and after.seconds]
        costs.append(Cost(variant.trick, ratio_effect(times) if times else None))
        if seeds := [seed for seed, (before, after) in by_seed.items() if before.iterations != after.iterations]:
            unequal[variant.trick] = seeds
    adjusted = iter(holm([effect.p for *_, effect, _ in compared if effect.p is not None]))
    rows = []
    for trick, metric, without, effect, missing in compared:
        p = next(adjusted) if effect.p is not None else None
        rows.append(Row(trick, metric, without, effect, p, verdict(effect, p), missing))
    left_out = _left_out(study, results)
    return StudyComparison(rows, costs, ended, len(study.runs), study.seeds, failed, ended_early, unequal, left_out)


def _pairs(study: Study, variant: Variant, results: Results) -> dict[int, Pair]:
    """Return two results for each seed: one without the variant's trick, and one with it.

    A seed is omitted if one of its two results is missing.
    """
    without, with_trick = (study.base, variant) if variant.adds else (variant, study.base)
    both = {seed: (results.get((without.folder, seed)), results.get((with_trick.folder, seed))) for seed in study.seeds}
    return {s: (before, after) for s, (before, after) in both.items() if before is not None and after is not None}


def _left_out(study: Study, results: Results) -> list[LeftOut]:
    """Return the runs without a finite metric value at the last iteration, grouped by metric, variant and reason."""
    seeds: dict[tuple[str, str, Reason], list[int]] = {}
    for variant in study.variants:
        for seed in study.seeds:
            if (result := results.get((variant.folder, seed))) is None:
                continue
            for metric in result.metrics:
                if result.value(metric) is None:
                    seeds.setdefault((metric, variant.name, "not finite"), []).append(seed)
            for metric in sorted(result.earlier - result.metrics.keys()):
                seeds.setdefault((metric, variant.name, "not computed at the end"), []).append(seed)
    return [LeftOut(metric, variant, own, why) for (metric, variant, why), own in seeds.items()]


def _check_protocols(study: Study, results: Results) -> None:
    """Raise InputError if two runs computed the same metric with different settings or data (protocols)."""
    first: dict[str, tuple[str, str]] = {}
    for (folder, seed), result in results.items():
        for name, metric in result.metrics.items():
            path = f"{study.path / folder}/seed-{seed}"
            protocol, other = first.setdefault(name, (metric.protocol, path))
            if protocol != metric.protocol:
                raise InputError(
                    f"{name}: computed with the protocol {metric.protocol} in {path} and with {protocol} in {other}; "
                    "such values cannot be compared; another --out starts a new study"
                )
