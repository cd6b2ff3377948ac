"""A study's runs, compared: what each trick does to each measure, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gankit.ablation.results import MetricResults, measures_at, measures_before, seconds_per_iteration
from gankit.ablation.statistics import CONFIDENCE, Effect, Verdict, holm, paired_effect, ratio_effect, verdict
from gankit.ablation.study import StudyRun, Study
from gankit.ablation.variants import Variant
from gankit.errors import InputError
from gankit.storage.run_dir import RunDir

WhyNot = Literal["not finite", "not measured at the end"]


@dataclass(frozen=True)
class Row:
    """A trick and a measure."""

    trick: str
    measure: str
    without: float
    """The mean without the trick, over the seeds that are compared."""

    effect: Effect
    """Of the trick: with it, less without it."""

    adjusted_p: float | None
    """By Holm's procedure, among all rows that have an interval."""

    verdict: Verdict
    broke_down: int
    """Pairs that are missing because one of the two runs broke down: the effect is of those that held."""


@dataclass(frozen=True)
class LeftOut:
    """Runs of a variant that are not compared in a measure."""

    measure: str
    variant: str
    seeds: list[int]
    why: WhyNot


@dataclass(frozen=True)
class Cost:
    """The time of an iteration with a trick over the time of one without."""

    trick: str
    ratio: Effect | None
    """None where no log says it."""


@dataclass(frozen=True)
class Comparison:
    """All that a study says so far."""

    rows: list[Row]
    costs: list[Cost]
    over: int
    """Runs that are over, of `runs`."""

    runs: int
    seeds: list[int]
    broke_down: dict[str, list[int]]
    """Seeds by variant, where a loss or a weight was no longer finite."""

    ended_early: dict[str, list[int]]
    """Seeds by variant, where a plugin ended the run."""

    unequal: dict[str, list[int]]
    """Seeds by trick, where the two runs that are compared are of different lengths."""

    left_out: list[LeftOut]

    @property
    def comparisons(self) -> int:
        return sum(row.effect.p is not None for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {"confidence": CONFIDENCE, "comparisons": self.comparisons, **asdict(self)}


@dataclass(frozen=True)
class _Played:
    """A run that came to its end."""

    iterations: int
    metrics: dict[str, MetricResults]
    """At the end, which is where runs are compared; some may be NaN."""

    earlier: set[str]
    """Measures that were taken before the end."""

    seconds: float | None

    def value(self, measure: str) -> float | None:
        """None where there is nothing to compare."""
        measured = self.metrics.get(measure)
        return measured.value if measured is not None and math.isfinite(measured.value) else None


Pair = tuple[_Played, _Played]
"""Without the trick, and with it."""


def compare(study: Study) -> Comparison:
    """Compares the runs that are over, by what was measured at their ends.

    A run that broke down has no measures to compare, though it may have some from before; it is counted.

    Raises InputError when a measure was taken in one way here and in another there.
    """
    played: dict[tuple[str, int], _Played] = {}
    broke_down: dict[str, list[int]] = {}
    ended_early: dict[str, list[int]] = {}
    over = 0
    for run in study.runs:
        if (outcome := run.outcome()) is None:
            continue
        over += 1
        if outcome["broke_down"] is not None:
            broke_down.setdefault(run.variant.name, []).append(run.seed)
            continue
        if outcome["stop_reason"] is not None:
            ended_early.setdefault(run.variant.name, []).append(run.seed)
        played[run.variant.folder, run.seed] = _read(run, outcome["iterations"])
    _check_protocols(study, played)
    compared, costs, unequal = [], [], {}
    for variant in study.variants[1:]:
        by_seed = _pairs(study, variant, played)
        pairs = list(by_seed.values())
        lost = len({*broke_down.get(study.base.name, []), *broke_down.get(variant.name, [])})
        for measure in dict.fromkeys(name for pair in pairs for run in pair for name in run.metrics):
            if values := _values(pairs, measure):
                without = sum(before for before, _ in values) / len(values)
                effect = paired_effect([after - before for before, after in values])
                compared.append((variant.trick, measure, without, effect, lost))
        costs.append(Cost(variant.trick, _ratio(pairs)))
        if seeds := [seed for seed, (before, after) in by_seed.items() if before.iterations != after.iterations]:
            unequal[variant.trick] = seeds
    adjusted = iter(holm([effect.p for *_, effect, _ in compared if effect.p is not None]))
    rows = []
    for trick, measure, without, effect, lost in compared:
        p = next(adjusted) if effect.p is not None else None
        rows.append(Row(trick, measure, without, effect, p, verdict(effect, p), lost))
    left_out = _left_out(study, played)
    return Comparison(rows, costs, over, len(study.runs), study.seeds, broke_down, ended_early, unequal, left_out)


def _read(run: StudyRun, iterations: int) -> _Played:
    log = RunDir.open(run.path).read_log()
    return _Played(
        iterations, measures_at(log, iterations), measures_before(log, iterations), seconds_per_iteration(log)
    )


def _pairs(study: Study, variant: Variant, played: dict[tuple[str, int], _Played]) -> dict[int, Pair]:
    """By seed, of every seed of which both runs are over."""
    without, with_it = (study.base, variant) if variant.adds else (variant, study.base)
    both = {seed: (played.get((without.folder, seed)), played.get((with_it.folder, seed))) for seed in study.seeds}
    return {s: (before, after) for s, (before, after) in both.items() if before is not None and after is not None}


def _values(pairs: Iterable[Pair], measure: str) -> list[tuple[float, float]]:
    """Of a measure, of every pair that has it on both sides."""
    both = [(before.value(measure), after.value(measure)) for before, after in pairs]
    return [(before, after) for before, after in both if before is not None and after is not None]


def _ratio(pairs: Iterable[Pair]) -> Effect | None:
    """How many times as long an iteration with the trick takes; None where no log says it."""
    times = [(after.seconds, before.seconds) for before, after in pairs if before.seconds and after.seconds]
    return ratio_effect([(after, before) for after, before in times if after and before]) if times else None


def _left_out(study: Study, played: dict[tuple[str, int], _Played]) -> list[LeftOut]:
    """What was measured and cannot be compared."""
    found: dict[tuple[str, str, WhyNot], list[int]] = {}
    for variant in study.variants:
        for seed in study.seeds:
            if (run := played.get((variant.folder, seed))) is None:
                continue
            for measure, measured in run.metrics.items():
                if not math.isfinite(measured.value):
                    found.setdefault((measure, variant.name, "not finite"), []).append(seed)
            for measure in sorted(run.earlier - run.metrics.keys()):
                found.setdefault((measure, variant.name, "not measured at the end"), []).append(seed)
    return [LeftOut(measure, variant, seeds, why) for (measure, variant, why), seeds in found.items()]


def _check_protocols(study: Study, played: dict[tuple[str, int], _Played]) -> None:
    """Raises InputError for a measure whose values were not all taken in one way."""
    first: dict[str, tuple[str, str]] = {}
    for (folder, seed), run in played.items():
        for name, measured in run.metrics.items():
            where = f"{study.path / folder}/seed-{seed}"
            protocol, place = first.setdefault(name, (measured.protocol, where))
            if protocol != measured.protocol:
                raise InputError(
                    f"{name}: measured by the protocol {measured.protocol or 'that is not recorded'} in {where} and by "
                    f"{protocol or 'one that is not recorded'} in {place}, and such values cannot be compared; another "
                    "--out plays all runs anew"
                )
