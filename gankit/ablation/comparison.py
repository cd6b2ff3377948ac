"""A study's runs, compared: what each trick does to each measure, and what it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gankit.ablation.intervals import CONFIDENCE, Effect, Verdict, holm, paired_effect, ratio_effect, verdict
from gankit.ablation.results import Measured, newest_measures, seconds_per_iteration
from gankit.ablation.study import Study
from gankit.ablation.variants import Variant
from gankit.errors import InputError
from gankit.run_dir import RunDir


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

    @property
    def comparisons(self) -> int:
        return sum(row.effect.p is not None for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {"confidence": CONFIDENCE, "comparisons": self.comparisons, **asdict(self)}


@dataclass(frozen=True)
class _Played:
    """A run that came to its end."""

    measures: dict[str, Measured]
    seconds: float | None


def compare(study: Study) -> Comparison:
    """Compares the runs that are over.

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
        log = RunDir.open(run.path).read_log()
        played[run.variant.folder, run.seed] = _Played(newest_measures(log), seconds_per_iteration(log))
    _check_protocols(study, played)
    compared, costs = [], []
    for variant in study.variants[1:]:
        pairs = _pairs(study, variant, played)
        for measure in dict.fromkeys(name for pair in pairs for name in pair[0].measures):
            values = [
                (before.measures[measure].value, after.measures[measure].value)
                for before, after in pairs
                if measure in before.measures and measure in after.measures
            ]
            if values:
                without = sum(before for before, _ in values) / len(values)
                compared.append(
                    (variant.trick, measure, without, paired_effect([after - before for before, after in values]))
                )
        times = [(after.seconds, before.seconds) for before, after in pairs if before.seconds and after.seconds]
        ratio = ratio_effect([(after, before) for after, before in times if after and before]) if times else None
        costs.append(Cost(variant.trick, ratio))
    adjusted = iter(holm([effect.p for *_, effect in compared if effect.p is not None]))
    rows = []
    for trick, measure, without, effect in compared:
        p = next(adjusted) if effect.p is not None else None
        rows.append(Row(trick, measure, without, effect, p, verdict(effect, p)))
    return Comparison(rows, costs, over, len(study.runs), study.seeds, broke_down, ended_early)


def _pairs(study: Study, variant: Variant, played: dict[tuple[str, int], _Played]) -> list[tuple[_Played, _Played]]:
    """(without the trick, with it) for every seed of which both runs are over."""
    without, with_it = (study.base, variant) if variant.adds else (variant, study.base)
    both = [(played.get((without.folder, seed)), played.get((with_it.folder, seed))) for seed in study.seeds]
    return [(before, after) for before, after in both if before is not None and after is not None]


def _check_protocols(study: Study, played: dict[tuple[str, int], _Played]) -> None:
    """Raises InputError for a measure whose values were not all taken in one way."""
    first: dict[str, tuple[str, str]] = {}
    for (folder, seed), run in played.items():
        for name, measured in run.measures.items():
            where = f"{study.path / folder}/seed-{seed}"
            protocol, place = first.setdefault(name, (measured.protocol, where))
            if protocol != measured.protocol:
                raise InputError(
                    f"{name}: measured by the protocol {measured.protocol or 'that is not recorded'} in {where} and by "
                    f"{protocol or 'one that is not recorded'} in {place}, and such values cannot be compared; measure "
                    f"all runs anew in one way, then `gankit ablate {study.path}` writes the table"
                )
