"""Searches with a fake executor, which writes the metrics and the end of each trial without training."""

import json
import math
import os
import signal
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gankit import GankitError, InputError, Recipe
from gankit.ablation import scheduler
from gankit.ablation.scheduler import StudyReporter, run_plan
from gankit.ablation.search_results import best_recipe, best_result, results_record, trial_results
from gankit.ablation.search_space import parse_variations
from gankit.ablation.worker import INTERRUPTED
from gankit.cli.search_table import cells, markdown, picture
from gankit.recipe.bundled import find_recipe

pytest.importorskip("optuna")

from optuna.storages import InMemoryStorage

from gankit.ablation.search import Search, SearchSettings, require_optuna

LR = "optimizer.generator.lr"
STEPS = (500, 1000, 1500, 2000)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)
    monkeypatch.setattr("gankit.ablation.search.CHECK_SECONDS", 0.0)


class MemoryStorage:
    """Constructor of a storage that keeps its trials in memory between the searches of a test. Its file is empty."""

    def __new__(cls, url):
        Path(url.removeprefix("sqlite:///")).touch()
        return cls.known.setdefault(url, InMemoryStorage())


@pytest.fixture
def storage_in_memory(monkeypatch):
    """Replace the database. Its creation takes longer than a search with the fake executor."""
    monkeypatch.setattr(MemoryStorage, "known", {}, raising=False)
    monkeypatch.setattr("optuna.storages.RDBStorage", MemoryStorage)


IN_MEMORY = pytest.mark.usefixtures("storage_in_memory")


@pytest.fixture(scope="module")
def base():
    require_optuna()
    return Recipe.load(find_recipe("gaussian_ring"), ["train.iterations=2000"])


@pytest.fixture(scope="module")
def space(base):
    return parse_variations(base, [f"{LR}=1e-5..1e-1", "loss=hinge,non_saturating"])


@pytest.fixture
def begin(base, space, tmp_path):
    """Begin or continue a search in the folder `name`. `options` replace its settings."""

    def call(jobs=1, name="s", **options):
        settings = SearchSettings(base, space, "error", "lower", 0, 8, 1, [{}])
        return Search.begin(tmp_path / name, replace(settings, **options), jobs)

    return call


def error_of(raw, step):
    """Return a metric that is best for a learning rate of 0.001 and the loss hinge."""
    distance = abs(math.log10(raw["optimizer"]["generator"]["lr"]) + 3)
    return 1 + distance + (0 if raw["loss"]["use"] == "hinge" else 0.5) + 1 / step


class FakeExecutor:
    """Executor that logs one evaluation of each trial at each poll.

    Args:
        metric: function of the tables of the recipe and the step that returns a metric. To kill the search, it raises
            KeyboardInterrupt.
        fails: function of a run that returns the reason of its failure, or None. A reason with `nan` is that of a loss
            that is not finite, which the process of the run writes to outcome.json.
    """

    def __init__(self, metric=error_of, fails=lambda run: None, jobs=1):
        self.metric, self.fails, self.jobs, self.started, self.stopped = metric, fails, jobs, [], set()
        self.steps = {}

    def has_room(self):
        return len(self.steps) < self.jobs

    def start(self, run):
        self.started.append(run.number)
        self.steps[run] = list(STEPS)
        run.path.mkdir(parents=True, exist_ok=True)

    def running(self):
        for run, steps in self.steps.items():
            if steps:
                raw = tomllib.loads(run.recipe_file.read_text())
                row = {"iteration": steps[0], "metrics": {"error": self.metric(raw, steps.pop(0))}}
                with open(run.path / "log.jsonl", "a") as log:
                    log.write(json.dumps(row) + "\n")
        return list(self.steps)

    def ended(self):
        ended = []
        for run, steps in list(self.steps.items()):
            if run in self.stopped:
                ended.append((run, INTERRUPTED))
            elif (reason := self.fails(run)) and "nan" not in reason:
                ended.append((run, GankitError(reason)))
            elif reason or not steps:
                outcome = {"iterations": None if reason else 2000, "stop_reason": None, "failed": reason}
                run.outcome_file.write_text(json.dumps(outcome))
                ended.append((run, 0))
        for run, _ in ended:
            del self.steps[run]
        return ended

    def stop(self, run):
        self.stopped.add(run)

    def kill(self):
        pass


def run(search, executor=None):
    executor = executor or FakeExecutor()
    try:
        return run_plan(search, executor, StudyReporter()), executor
    finally:
        search.release()


def table(search):
    return [(one.number, one.values, one.metric, one.iterations, one.state) for one in trial_results(search)]


@IN_MEMORY
def test_a_search_prunes_bad_trials_and_finds_good_values(begin, base):
    search = begin(trials=10)
    ending, executor = run(search)
    assert (ending.failures, ending.stopped, ending.interrupted, executor.started) == ([], [], False, list(range(10)))
    results = trial_results(search)
    complete = [one for one in results if one.state == "complete"]
    pruned = [one for one in results if one.state == "pruned"]
    assert len(complete) + len(pruned) == 10
    assert pruned
    # No trial is pruned before five are complete. A pruned trial is worse than the median when it stops.
    assert min(one.number for one in pruned) >= 5
    assert {one.iterations for one in pruned} <= set(STEPS[:-1])
    assert [one.metric for one in complete] == sorted(one.metric for one in complete)
    best = best_result(results)
    assert best is complete[0]
    assert best.metric < 1.5
    assert best.values["loss"] == "hinge"
    assert 3e-4 < best.values[LR] < 3e-3
    trained = Recipe.load(search.runs[best.number].recipe_file)
    assert trained.evaluation.budget == 1
    assert best.metric == error_of(trained.to_dict(), 2000)
    # The recipe of the best trial is complete, and has the evaluation of the recipe that was searched.
    text = best_recipe(search, results, best)
    (search.path / "best.toml").write_text(text)
    written = Recipe.load(search.path / "best.toml")
    assert (written.components[LR.removesuffix(".lr")].config.lr, written.use_of("loss")) == (best.values[LR], "hinge")
    assert written.evaluation == base.evaluation
    assert f"# {LR} = {best.values[LR]}\n# loss = hinge\n" in text
    assert json.loads(json.dumps(results_record(search, results)))["trials"][0]["metric"] == best.metric
    assert markdown(search, results).splitlines()[4].startswith(f"| {best.number} | ")


@IN_MEMORY
def test_the_seed_decides_the_trials_and_a_killed_search_goes_on_with_them(begin):
    whole, other = begin(name="whole", trials=5), begin(name="other", seed=1, trials=2)
    run(whole)
    run(other)
    first, second = ({one.number: one.values for one in trial_results(search)} for search in (whole, other))
    # Trial 0 has the values of the recipe.
    assert first[0] == second[0] == {LR: 1e-3, "loss": "non_saturating"}
    assert first[1] != second[1]

    for number, last in ((0, 500), (3, 1000)):
        killed = begin(name="killed", trials=5)

        def die(raw, step, number=number, last=last, path=killed.path):
            if (path / f"trial-{number}.toml").exists() and step == last:
                raise KeyboardInterrupt
            return error_of(raw, step)

        with pytest.raises(KeyboardInterrupt):
            run(killed, FakeExecutor(die))
        assert [one.state for one in trial_results(killed)].count("not finished") == 1
    resumed = begin(name="killed", trials=5)
    _, executor = run(resumed)
    assert executor.started == [3, 4]
    assert table(resumed) == table(whole)
    # A complete search trains nothing, and more trials are added to it.
    again = begin(name="killed", trials=6)
    assert run(again)[1].started == [5]
    assert len(table(again)) == 6


def test_ctrl_c_stops_the_trials_and_they_go_on(begin):
    search = begin(jobs=2, trials=3)

    def interrupt(raw, step):
        if step == 1000:
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    ending, executor = run(search, FakeExecutor(interrupt, jobs=2))
    assert (executor.started, ending.interrupted, len(ending.stopped)) == ([0, 1], True, 2)
    assert [one.state for one in trial_results(search)] == ["not finished"] * 2
    again = begin(jobs=2, trials=3)
    ending, executor = run(again, FakeExecutor(lambda raw, step: 1.0))
    assert (executor.started, ending.interrupted) == ([0, 1, 2], False)
    assert [one.state for one in trial_results(again)] == ["complete"] * 3


@IN_MEMORY
@pytest.mark.parametrize("pruned", [False, True])
def test_a_kill_while_a_result_is_recorded_loses_and_repeats_nothing(begin, monkeypatch, pruned):
    """Kill the search before Optuna records the value of a trial, or after it records that a trial is pruned."""
    from optuna import Study

    search, tell = begin(trials=7), Study.tell

    def die(study, trial, value=None, **options):
        if pruned or trial.number < 5:
            tell(study, trial, value, **options)
        if trial.number == 5:
            raise KeyboardInterrupt

    def metric(raw, step):
        return 9.0 if pruned and (search.path / "trial-5.toml").exists() else 1.0

    monkeypatch.setattr(Study, "tell", die)
    with pytest.raises(KeyboardInterrupt):
        run(search, FakeExecutor(metric))
    monkeypatch.setattr(Study, "tell", tell)
    search = begin(trials=7)
    assert run(search, FakeExecutor(lambda raw, step: 1.0))[1].started == [6]
    results = {one.number: one for one in trial_results(search)}
    assert len(results) == 7
    expected = ("pruned", 500, 9.0) if pruned else ("complete", 2000, 1.0)
    assert (results[5].state, results[5].iterations, results[5].metric) == expected
    assert results[6].state == "complete"


@IN_MEMORY
def test_failed_trials_are_shown_and_do_not_stop_the_search(begin):
    search = begin(trials=6)

    def metric(raw, step):
        first = not (search.path / "trial-1.toml").exists()
        return math.nan if first and step == 2000 else error_of(raw, step)

    reasons = {1: "the memory is full", 2: "iteration 9: the generator's loss is nan. Remedies: none"}
    ending, executor = run(search, FakeExecutor(metric, lambda run: reasons.get(run.number)))
    assert (len(ending.failures), ending.aborted, len(executor.started)) == (1, False, 6)
    results = trial_results(search)
    by_number = {one.number: one for one in results}
    assert [(by_number[n].state, by_number[n].metric) for n in range(3)] == [("failed", None)] * 3
    assert [by_number[n].reason for n in range(3)] == ["error is nan at the end", reasons[1], reasons[2]]
    assert [by_number[n].iterations for n in (0, 2)] == [2000, 0]
    # The sampler avoids the values of trials with a NaN, but ignores trials with another error.
    assert [trial.state.name for trial in search.study.trials[:3]] == ["PRUNED", "FAIL", "PRUNED"]
    assert [one.number for one in results[-3:]] == [0, 1, 2]
    assert cells(by_number[1])[-1] == "failed: the memory is full"
    assert cells(by_number[1], 10)[-1] == "failed: the memor…"
    assert best_result(results).state == "complete"
    # Failed trials count, so they are not trained again.
    assert run(begin(trials=6))[1].started == []


@IN_MEMORY
def test_a_metric_that_is_not_finite_is_shown_as_missing(begin):
    search = begin(trials=7)

    def metric(raw, step):
        number = len(list(search.path.glob("trial-*.toml"))) - 1
        return {5: math.inf, 6: math.nan}.get(number, 1.0)

    run(search, FakeExecutor(metric))
    results = {one.number: one for one in trial_results(search)}
    # A trial with a NaN or infinite metric is worse than the median.
    assert [(results[n].state, results[n].metric, results[n].iterations) for n in (5, 6)] == [("pruned", None, 500)] * 2
    assert picture(search, trial_results(search)).size == (1840, 580)
    assert "Infinity" not in json.dumps(results_record(search, trial_results(search)))


@IN_MEMORY
def test_a_search_whose_trials_all_fail_ends(begin):
    search = begin()
    ending, executor = run(search, FakeExecutor(fails=lambda run: f"a bug in {run.path}"))
    assert (ending.aborted, executor.started) == (True, [0, 1, 2])
    assert best_result(trial_results(search)) is None


@IN_MEMORY
def test_parallel_trials_are_limited(begin):
    search = begin(jobs=3, trials=5)
    executor = FakeExecutor(jobs=100)
    most = []
    running = executor.running
    executor.running = lambda: most.append(len(executor.steps)) or running()
    run(search, executor)
    assert max(most) == 3
    assert sorted(executor.started) == list(range(5))


def test_another_search_in_the_folder_is_refused(begin, base, space):
    search = begin(jobs=2, trials=2)
    search.next_run()
    search.next_run()
    search.release()
    before = (search.path / "search.json").read_bytes()
    smaller = replace(base, train=base.train.model_copy(update={"batch_size": 9}))
    for options, message in (
        ({"space": [replace(space[0], low=1e-4), space[1]]}, f"--vary {LR}: 1e-05 to 0.1, .* and 0.0001 to"),
        ({"space": space[:1]}, "--vary loss: hinge or non_saturating in the search in .*, and missing now"),
        ({"space": space[::-1]}, f"--vary: the order is {LR}, loss in the search in"),
        ({"seed": 1}, "--seed: 0 in the search in .*, and 1 now; `gankit search .*` resumes the search"),
        ({"metric": "modes"}, "--metric: error in the search in .*, and modes now"),
        ({"trials": 1}, "--trials: the search in .* has 2 trials; give 2 or more"),
        ({"base": smaller}, "train.batch_size is 128 in the search and 9 in the request"),
    ):
        with pytest.raises(InputError, match=message):
            begin(**options)
        assert (search.path / "search.json").read_bytes() == before
    begin().release()
    (search.path / "search.db").unlink()
    with pytest.raises(InputError, match=r"search.db: is missing, and the folder has trials"):
        begin()
    (search.path / "search.db").write_text("no database, but long enough to be read as the header of one" * 20)
    with pytest.raises(
        GankitError, match=r"search.db: cannot be read or written \(file is not a database\); `gankit se"
    ):
        begin()


@IN_MEMORY
def test_values_that_do_not_fit_together_are_left_to_the_trial(begin, base, tmp_path):
    space = parse_variations(base, ["train.accumulate=1,2,64", "train.batch_size=32,128"])
    search = begin(space=space)
    search.release()
    for batch_size, accumulate in (("128", "64"), ("32", "2"), ("32", "64")):
        values = {"train.batch_size": batch_size, "train.accumulate": accumulate}
        (tmp_path / "trial.toml").write_text(search.trial_recipe(values))
        if (batch_size, accumulate) == ("32", "64"):
            with pytest.raises(InputError, match=r"train.accumulate: 64 given; it must divide train.batch_size = 32"):
                Recipe.load(tmp_path / "trial.toml")
        else:
            train = Recipe.load(tmp_path / "trial.toml").train
            assert (train.batch_size, train.accumulate) == (int(batch_size), int(accumulate))


@IN_MEMORY
def test_folders_that_cannot_be_used_are_refused(begin, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        begin(name="file")
    with pytest.raises(InputError, match="is not empty and holds no search"):
        begin(name=".")
    search = begin()
    with pytest.raises(InputError, match="another process is at work on this search"):
        begin()
    search.release()


@IN_MEMORY
def test_a_plugin_must_not_change_after_a_result(begin):
    record = {"loss": {"use": "hinge", "distribution": "gankit", "version": "1", "origin": "x:X", "sha256": "a"}}
    newer = {"loss": record["loss"] | {"sha256": "b"}}
    begin(trials=1, plugins=[record]).release()
    search = begin(trials=1, plugins=[newer])
    run(search)
    with pytest.raises(InputError, match=r"loss: the source of hinge .* has changed.*trials before and after cannot"):
        begin(trials=2, plugins=[record])


def test_without_optuna_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"Optuna is not installed; run `pip install 'gankit\[search\]'`"):
        require_optuna()
