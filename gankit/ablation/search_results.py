"""Results of a search: all trials, best first, and the recipe of the best trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gankit.ablation.results import read_last_rows
from gankit.ablation.search import Search
from gankit.ablation.search_space import Value, changes_of
from gankit.formatting import brief, plural

TrialState = Literal["complete", "pruned", "failed", "not finished"]

STATES: tuple[TrialState, ...] = ("complete", "pruned", "failed", "not finished")
"""States in the order of the table."""


@dataclass(frozen=True)
class TrialResult:
    """Result of one trial."""

    number: int
    values: dict[str, Value]  # value of each varied setting

    metric: float | None  # at the last evaluation, or None if there is none or it is NaN or infinite

    iterations: int  # number of iterations that the trial has trained, or the iteration at which it was pruned
    state: TrialState
    reason: str | None  # reason of a failure or an early end

    def describe(self) -> str:
        """Return the values of the settings as text, such as `loss = hinge, train.batch_size = 32`."""
        return ", ".join(f"{key} = {format_value(value)}" for key, value in self.values.items())


def format_value(value: Value) -> str:
    """Return the value of a setting as text, with at most four significant digits."""
    return value if isinstance(value, str) else brief(value)


def trial_results(search: Search) -> list[TrialResult]:
    """Return the results of all trials that have values, best first.

    Complete trials are followed by pruned, failed and unfinished trials. Trials of the same state are ordered by the
    metric, and those without a metric by their number.
    """
    settings = len(search.settings.space)
    trials = search.study.get_trials(deepcopy=False)
    # A trial without all values belongs to a process that was killed while it chose them.
    results = [_result(search, trial) for trial in trials if len(trial.params) == settings]
    sign = 1 if search.settings.better == "lower" else -1

    def rank(result: TrialResult) -> tuple[int, bool, float, int]:
        missing = result.metric is None
        return (
            STATES.index(result.state),
            missing,
            0.0 if result.metric is None else sign * result.metric,
            result.number,
        )

    return sorted(results, key=rank)


def _result(search: Search, trial: Any) -> TrialResult:
    """Return the result of a trial. `trial` is an Optuna `FrozenTrial`."""
    run = search.runs[trial.number]
    outcome = run.outcome() if trial.state.is_finished() else None
    state: TrialState
    if outcome is None:
        state, reason = "not finished", None
    elif outcome["failed"] is not None:
        state, reason = "failed", outcome["failed"]
    else:
        state = "complete" if trial.state.name == "COMPLETE" else "pruned"
        reason = outcome["stop_reason"]
    # A failed trial may have metrics from before the failure, which say nothing about its values.
    reported = trial.intermediate_values if state != "failed" else {}
    metric = trial.value if state == "complete" else reported[max(reported)] if reported else None
    metric = metric if metric is not None and math.isfinite(metric) else None
    rows = read_last_rows(run.path / "log.jsonl")
    iterations = outcome["iterations"] if outcome is not None else None
    iterations = iterations if iterations is not None else rows[-1]["iteration"] if rows else 0
    values = {variation.key: trial.params[variation.key] for variation in search.settings.space}
    return TrialResult(trial.number, values, metric, iterations, state, reason)


def results_record(search: Search, results: Sequence[TrialResult]) -> dict[str, Any]:
    """Return the results as JSON values, in the format of `table.json`."""
    settings = search.settings
    trials = [asdict(result) for result in results]
    return {"metric": settings.metric, "better": settings.better, "seed": settings.seed, "trials": trials}


def best_result(results: Sequence[TrialResult]) -> TrialResult | None:
    """Return the complete trial with the best metric, or None if no trial is complete."""
    return next((result for result in results if result.state == "complete"), None)


def best_recipe(search: Search, results: Sequence[TrialResult], best: TrialResult) -> str:
    """Return the recipe with the values of the best trial as TOML text. Comments at the top describe the search."""
    settings = search.settings
    recipe = settings.base.merged(changes_of(settings.space, best.values))
    assert best.metric is not None
    complete = sum(result.state == "complete" for result in results)
    lines = [
        f"Best of {plural(len(results), 'trial')} of `gankit search`, of which {complete} are complete.",
        f"{settings.metric} = {brief(best.metric)} after {plural(best.iterations, 'iteration')}, {settings.better} is "
        f"better: trial {best.number} in {search.path}",
        *(f"{key} = {value}" for key, value in best.values.items()),
    ]
    return "".join(f"# {line}\n" for line in lines) + "\n" + recipe.to_toml()
