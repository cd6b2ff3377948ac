"""Search for good values of settings with Optuna: a folder with a trial, that is a run, for each choice of values.

Example:

runs/gaussian_ring/search/
  search.json             recipe, varied settings, metric, seed and number of trials
  search.db               Optuna's SQLite storage: values, metrics and state of each trial
  trial-0.toml            recipe of a trial
  trial-0/seed-0/         run directory of a trial, with outcome.json once the trial has ended
  trial-0/seed-0.log      stdout and stderr of the process that trains the trial
  table.md  table.json    all trials, best first
  search.png              metric against each varied setting
  best.toml               recipe of the best trial

Only the process of the search opens search.db. It reads the metrics of the trials from their logs. Therefore, a shared
file system needs no working file locks for SQLite.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from gankit.ablation.results import metrics_at
from gankit.ablation.scheduler import Failure, error_kind
from gankit.ablation.search_space import Choices, Value, Variation, changes_of, from_json, own_values, to_json
from gankit.ablation.study import StudyRun, value_text
from gankit.ablation.variants import Variant
from gankit.errors import GankitError, InputError
from gankit.formatting import brief
from gankit.plugin.base import Direction
from gankit.recipe.diff import differing_keys
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import Raw, merge
from gankit.runtime.rng import derived_seed
from gankit.storage.atomic_io import TEMPORARY, disk_errors, write_json, write_text
from gankit.storage.lock import Lock
from gankit.storage.provenance import changed_plugins
from gankit.storage.run_dir import RunDir
from gankit.version import __version__

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna import Trial as OptunaTrial

HOPELESS_FAILURES = 3
"""Number of trials that fail with the same error before any other trial ends, after which the search ends."""


CHECK_SECONDS = 0.5  # minimum time, in seconds, between two reads of the metrics of running trials


class TrialRun(StudyRun):
    """Run of one trial of a search. Its variant contains the recipe of the search, without the values of the trial."""

    @property
    def name(self) -> str:
        """Name of the trial in messages, such as `trial 7`."""
        return self.variant.folder.replace("-", " ")

    @property
    def number(self) -> int:
        """Number of the trial, from 0."""
        return int(self.variant.folder.partition("-")[2])


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search. Only `trials` may change when the search is resumed."""

    base: Recipe
    space: Sequence[Variation]
    metric: str
    better: Direction
    seed: int  # seed of the choice of values; the seed of the training is that of the recipe

    trials: int
    threads: int
    plugins: Sequence[dict[str, dict[str, str]]]
    """Record of the plugins of the recipe, and of the plugins of each recipe that was checked before the search."""

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            "gankit": __version__,
            "metric": self.metric,
            "better": self.better,
            "seed": self.seed,
            "trials": self.trials,
            "threads": self.threads,
            "vary": [to_json(variation) for variation in self.space],
            "recipe": self.base.to_dict(),
            "plugins": list(self.plugins),
        }

    @classmethod
    def read(cls, path: Path) -> SearchSettings:
        """Read the settings of the search in a folder."""
        record = json.loads((path / "search.json").read_text(encoding="utf-8"))
        base = Recipe.from_dict(record["recipe"], source=path / "search.json", recorded=record["plugins"][0])
        space = [from_json(variation) for variation in record["vary"]]
        names = ("metric", "better", "seed", "trials", "threads", "plugins")
        return cls(base=base, space=space, **{name: record[name] for name in names})


class Search:
    """Search in a folder. This class is the plan with which `run_plan` trains the trials.

    Args:
        path: folder of the search.
        settings: settings of the search.
        jobs: maximum number of trials that are trained at a time.
    """

    def __init__(self, path: Path, settings: SearchSettings, jobs: int) -> None:
        self.path, self.settings, self.jobs = path, settings, jobs
        self._lock = Lock(path, "search")
        self._failures: list[Failure] = []
        self._active: dict[StudyRun, OptunaTrial] = {}  # trials whose processes have not ended
        self._reported: dict[StudyRun, set[int]] = {}  # iterations whose metrics Optuna has, for each active trial
        self._pruned: dict[StudyRun, tuple[int, float]] = {}  # iteration and metric of each active trial that must stop
        self._seen: dict[StudyRun, int] = {}  # iteration of the last metric that was read, for each active trial
        self._last_check = -CHECK_SECONDS
        self._log_sizes: dict[StudyRun, int] = {}  # size of each active trial's log when it was last read

    @staticmethod
    def exists(path: Path) -> bool:
        """Return True if a folder contains a search."""
        return (path / "search.json").is_file()

    @classmethod
    def begin(cls, path: Path, settings: SearchSettings, jobs: int) -> Search:
        """Create a search in a folder, or continue the existing search with the same settings.

        The folder is locked until `release` is called, so that only one process works on the search.

        Raises:
            InputError: the folder cannot be used, or contains a search with other settings.
        """
        if path.is_file():
            raise InputError(f"--out {path}: is a file; use another folder")
        resumed = cls.exists(path)
        if resumed:
            _check_same(path, SearchSettings.read(path), settings)
        elif path.is_dir() and any(not p.name.startswith((TEMPORARY, ".lock")) for p in path.iterdir()):
            raise InputError(f"--out {path}: the folder is not empty and holds no search; use another folder")
        search = cls(path, settings, jobs)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        search._lock.acquire()
        try:
            if not resumed:
                # The file identifies the folder as a search, so it is written before all other files.
                search._write_settings()
            with storage_errors(path):
                search._open()
            search._write_settings()
        except BaseException:
            search.release()
            raise
        return search

    def _open(self) -> None:
        """Open Optuna's storage, and check that the search can continue."""
        from optuna.pruners import MedianPruner
        from optuna.storages import RDBStorage
        from optuna.study import StudyDirection, create_study
        from optuna.trial import TrialState

        file = self.path / "search.db"
        if not file.exists() and any(self.path.glob("trial-*")):
            raise InputError(f"{file}: is missing, and the folder has trials; restore it, or use another --out")
        direction = StudyDirection.MINIMIZE if self.settings.better == "lower" else StudyDirection.MAXIMIZE
        storage = RDBStorage(f"sqlite:///{file.absolute()}")
        self.study: OptunaStudy = create_study(
            storage=storage, study_name="search", direction=direction, pruner=MedianPruner(), load_if_exists=True
        )
        trials = self.study.get_trials(deepcopy=False)
        if not trials and (values := own_values(self.settings.base, self.settings.space)) is not None:
            # The first trial has the values of the recipe, so the others can be compared with it.
            self.study.enqueue_trial(values)
        trials = [trial for trial in trials if trial.state != TrialState.WAITING]
        if len(trials) > self.settings.trials:
            raise InputError(
                f"--trials: the search in {self.path} has {len(trials)} trials; give {len(trials)} or more"
            )
        results = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        if results and (changes := self._changed_plugins()):
            raise InputError(
                f"{self.path}: {changes[0]}; trials before and after cannot be compared; use another --out"
            )
        for trial in trials:
            # The process was killed after it stopped the trial, and before it wrote outcome.json.
            run, last = self.runs[trial.number], trial.last_step
            if trial.state == TrialState.PRUNED and last is not None and run.outcome() is None:
                self._write_pruned(run, last, trial.intermediate_values[last])
        # Trials whose process was killed continue from their checkpoints.
        self._waiting = deque(trial for trial in trials if not trial.state.is_finished())
        self._asked = len(trials)

    def _write_settings(self) -> None:
        # Do not sort the JSON keys, because the order of the tricks in a recipe matters.
        write_text(self.path / "search.json", json.dumps(self.settings.to_json(), indent=2) + "\n")

    def _changed_plugins(self) -> list[str]:
        before, now = SearchSettings.read(self.path).plugins, self.settings.plugins
        return [text for b, n in zip(before, now, strict=True) for text in changed_plugins({"plugins": b}, n)]

    def release(self) -> None:
        """Release the lock of the search's folder."""
        self._lock.release()

    @property
    def name(self) -> str:
        """Name of the search in the progress display: the name of the recipe."""
        return self.settings.base.name

    @property
    def runs(self) -> list[StudyRun]:
        """All trials, also those whose values have not been chosen yet."""
        seed = self.settings.base.seed
        variants = [Variant(f"trial-{number}", "", False, self.settings.base) for number in range(self.settings.trials)]
        return [TrialRun(variant, seed, self.path) for variant in variants]

    def next_run(self) -> StudyRun | None:
        from optuna.samplers import TPESampler
        from optuna.trial import Trial

        while len(self._active) < self.jobs and not self.is_complete():
            number = self._waiting[0].number if self._waiting else self._asked
            # With a seed for each trial, a resumed search chooses the same values.
            self.study.sampler = TPESampler(seed=derived_seed(self.settings.seed, f"trial {number}") % 2**32)
            reported: set[int] = set()
            if self._waiting:
                waiting = self._waiting.popleft()
                trial, reported = Trial(self.study, waiting._trial_id), {*waiting.intermediate_values}
            else:
                trial = self.study.ask()
                self._asked += 1
            run = self.runs[number]
            values = {variation.key: suggest(trial, variation) for variation in self.settings.space}
            write_text(run.recipe_file, self.trial_recipe(values))
            self._active[run], self._seen[run], self._reported[run] = trial, -1, reported
            if run.outcome() is None:
                return run
            # The process was killed after the trial ended, and before it recorded the result.
            self.ended(run)
        return None

    def trial_recipe(self, values: dict[str, Value]) -> str:
        """Return the recipe of a trial as TOML text. `values` contains the value of each varied setting."""
        # The median is taken over trials at the same iteration, so no evaluation may be skipped to save time.
        tables: Raw = changes_of(self.settings.space, values) | {"evaluation": {"budget": 1.0}}
        try:
            return self.settings.base.merged(tables).to_toml()
        except InputError:
            # The values do not fit together. The trial fails with this error when its process reads the recipe.
            return tomli_w.dumps(merge(self.settings.base.to_dict(), tables))

    def is_complete(self) -> bool:
        return not self._waiting and self._asked >= self.settings.trials

    def runs_to_stop(self, running: list[StudyRun]) -> list[StudyRun]:
        # The folder may be on a slow file server, so the logs are checked only now and then.
        if time.monotonic() < self._last_check + CHECK_SECONDS:
            return []
        self._last_check = time.monotonic()
        return [run for run in running if run not in self._pruned and self._log_has_grown(run) and self._prune(run)]

    def _log_has_grown(self, run: StudyRun) -> bool:
        log = run.path / "log.jsonl"
        size = log.stat().st_size if log.exists() else 0
        before, self._log_sizes[run] = self._log_sizes.get(run, 0), size
        return size != before

    def _prune(self, run: StudyRun) -> bool:
        """Report the new metrics of a trial to Optuna. Return True if the trial is worse than the median and must stop.

        The metrics are reported one after the other, even if the trial has trained further meanwhile. The decision
        therefore does not depend on the speed of the machine.
        """
        from optuna.trial import TrialState

        trial, last = self._active[run], self.settings.base.train.iterations
        rows = RunDir(run.path).read_log()
        new = {row["iteration"] for row in rows if "metrics" in row and row["iteration"] > self._seen[run]}
        for step in sorted(new):
            self._seen[run] = step
            if (value := metrics_at(rows, step).get(self.settings.metric)) is None:
                continue
            if step not in self._reported[run]:
                trial.report(value.value, step)
            if step < last and trial.should_prune():
                self.study.tell(trial, state=TrialState.PRUNED)
                self._pruned[run] = step, value.value
                return True
        return False

    def ended(self, run: StudyRun) -> dict[str, Any] | None:
        from optuna.trial import TrialState

        trial, outcome = self._active[run], run.outcome()
        if run in self._pruned or self._prune(run):
            outcome = self._write_pruned(run, *self._pruned.pop(run))
        elif outcome is None:
            # `run_plan` calls `failed` next, unless the search was interrupted.
            return None
        elif outcome["failed"] is not None:
            # A pruned trial counts as bad for the sampler. A failed trial would not count at all, and the sampler would
            # choose values near these again.
            trial.set_user_attr("failed", outcome["failed"])
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            outcome = self._record_value(run, outcome)
        self._remove(run)
        return outcome

    def _record_value(self, run: StudyRun, outcome: dict[str, Any]) -> dict[str, Any]:
        """Record the metric at the end of a trial. Return the outcome, which is a failure if there is no metric."""
        from optuna.trial import TrialState

        trial, name, end = self._active[run], self.settings.metric, outcome["iterations"]
        value = metrics_at(RunDir(run.path).read_log(), end).get(name)
        if value is not None and math.isfinite(value.value):
            self.study.tell(trial, value.value)
            return outcome
        reason = f"{name} was not computed at the end" if value is None else f"{name} is {value.value} at the end"
        outcome = outcome | {"failed": reason}
        trial.set_user_attr("failed", reason)
        write_json(run.outcome_file, outcome)
        # The sampler must avoid values with a NaN, as in `ended`.
        self.study.tell(trial, state=TrialState.FAIL if value is None else TrialState.PRUNED)
        return outcome

    def _write_pruned(self, run: StudyRun, iteration: int, value: float) -> dict[str, Any]:
        """Write and return the outcome of a trial that was stopped because its metric was worse than the median."""
        metric = f"{self.settings.metric} {brief(value)}"
        reason = f"pruned, because {metric} was worse than the median of the other trials"
        outcome = {"iterations": iteration, "stop_reason": reason, "failed": None}
        write_json(run.outcome_file, outcome)
        return outcome

    def failed(self, failure: Failure) -> None:
        from optuna.trial import TrialState

        self._failures.append(failure)
        trial, reason = self._active[failure.run], str(failure.error)
        trial.set_user_attr("failed", reason)
        write_json(failure.run.outcome_file, {"iterations": None, "stop_reason": None, "failed": reason})
        self.study.tell(trial, state=TrialState.FAIL)
        self._remove(failure.run)

    def _remove(self, run: StudyRun) -> None:
        del self._active[run], self._seen[run], self._reported[run]
        self._log_sizes.pop(run, None)

    def is_hopeless(self) -> bool:
        from optuna.trial import TrialState

        if len(self._failures) < HOPELESS_FAILURES or len({error_kind(one) for one in self._failures}) > 1:
            return False
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return not self.study.get_trials(deepcopy=False, states=states)


def suggest(trial: OptunaTrial, variation: Variation) -> Value:
    """Return the value that Optuna's sampler chooses for a setting, or the value that the trial has already."""
    if isinstance(variation, Choices):
        return str(trial.suggest_categorical(variation.key, list(variation.tables)))
    if isinstance(variation.low, int) and isinstance(variation.high, int):
        return trial.suggest_int(variation.key, variation.low, variation.high, log=variation.log)
    return trial.suggest_float(variation.key, variation.low, variation.high, log=variation.log)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert an error of Optuna's storage in the `with` block, such as a full disk, to a GankitError.

    `path` is the folder of the search.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = str(getattr(cause, "orig", cause)).partition("\n")[0]
        raise GankitError(
            f"{path / 'search.db'}: cannot be read or written ({reason}); `gankit search {path}` goes on after a fix"
        ) from error


def require_optuna() -> None:
    """Raise InputError if the package Optuna is missing. Reduce its messages to warnings."""
    try:
        import optuna
    except ImportError:
        raise InputError("gankit search: Optuna is not installed; run `pip install 'gankit[search]'`") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _check_same(path: Path, before: SearchSettings, now: SearchSettings) -> None:
    """Raise InputError if the settings of an existing search differ from the requested settings."""
    help_text = f"`gankit search {path}` resumes the search, and another --out starts a new one"
    then, new = ({variation.key: variation for variation in one.space} for one in (before, now))
    for key in [*then, *new]:
        if then.get(key) != new.get(key):
            texts = [one[key].describe() if key in one else "missing" for one in (then, new)]
            raise InputError(f"--vary {key}: {texts[0]} in the search in {path}, and {texts[1]} now; {help_text}")
    if list(then) != list(new):
        raise InputError(f"--vary: the order is {', '.join(then)} in the search in {path}; {help_text}")
    for name in ("metric", "seed"):
        if getattr(before, name) != getattr(now, name):
            values = f"{getattr(before, name)} in the search in {path}, and {getattr(now, name)} now"
            raise InputError(f"--{name}: {values}; {help_text}")
    recipes = [before.base.to_dict(), now.base.to_dict()]
    for key in differing_keys(recipes):
        if key != "requires":
            texts = [value_text(recipe, key) for recipe in recipes]
            raise InputError(f"{path}: {key} is {texts[0]} in the search and {texts[1]} in the request; {help_text}")
