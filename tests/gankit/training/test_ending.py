"""How runs end, and what a resumed one makes up for when it was broken off in the midst of that."""

import pytest
from tests.gankit.test_trainer import tricks

from gankit import GankitError, LossTerm, Plugin, hookimpl
from gankit import trainer as trainer_module
from gankit.training.launch import start
from gankit.training.reporter import Reporter

MEASURED = {
    "extractor": {"use": "pixels"},
    "metrics": {"frechet_distance": {}},
    "evaluation": {"count": 4, "every": 100},
}


class Counts(Plugin):
    """Measures the iteration."""

    name = "counts"

    @hookimpl
    def evaluate(self, run):
        return {"iterations": float(run.iteration)}


class Enough(Plugin):
    """Ends the run at iteration 3."""

    name = "enough"

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 3:
            run.stop("three are enough")


@pytest.fixture
def parts(shelf):
    """The toys, and what it takes to measure."""
    from gankit_plugins.extractor.pixels import Pixels
    from gankit_plugins.metric.frechet_distance import FrechetDistance

    shelf.add(Pixels, "pixels", "extractor")
    shelf.add(FrechetDistance, "frechet_distance", "metric")
    shelf.add(Counts)
    shelf.add(Enough)
    return shelf


def measured(path):
    """[(iteration, whether by a protocol), ...] of a log."""
    from gankit.storage.run_dir import RunDir

    return [(row["iteration"], "protocol" in row) for row in RunDir.open(path).read_log() if "metrics" in row]


def breaking(name):
    """A function of the trainer that breaks off when it is called first, and then works."""
    real, calls = getattr(trainer_module, name), []

    def called(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    return called


@pytest.mark.parametrize("broken_off_in", ["show", "judge"])
def test_the_last_measures_are_made_up_for(parts, play, go_on, monkeypatch, broken_off_in):
    changes = {**MEASURED, "tricks": tricks(Counts), "output": {"sample_every": 100}}
    with monkeypatch.context() as patched:
        patched.setattr(trainer_module, broken_off_in, breaking(broken_off_in))
        with pytest.raises(KeyboardInterrupt):
            play(**changes)
    run = go_on()
    assert measured(run.path) == [(6, False), (6, True)]
    assert measured(go_on().path) == [(6, False), (6, True)]


def test_a_stop_during_the_last_iteration_leaves_the_last_measures_to_do(parts, play, go_on):
    """Whoever asks for the end does not wait for measures, and is told that the run is not over."""
    import signal

    class Impatient(Plugin):
        """Asks for the end in the last iteration."""

        name = "impatient"

        @hookimpl
        def after_iteration(self, run):
            if run.iteration == 6:
                signal.raise_signal(signal.SIGINT)

    parts.add(Impatient)
    run = play(**MEASURED, tricks=tricks(Impatient))
    assert run.told.outcome.interrupted
    assert measured(run.path) == []
    resumed = go_on()
    assert not resumed.told.outcome.interrupted
    assert measured(run.path) == [(6, True)]


def test_a_run_that_a_plugin_ended_ends_again_if_it_was_killed_meanwhile(parts, play, go_on, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(trainer_module, "show", breaking("show"))
        with pytest.raises(KeyboardInterrupt):
            play(tricks=tricks(Enough), output={"sample_every": 100})
    run = go_on()
    assert (run.told.outcome.iterations, run.told.outcome.stop_reason) == (3, "three are enough")
    # Now that it has come to its end, to resume it means to play on.
    further = go_on()
    assert (further.told.outcome.iterations, further.told.outcome.stop_reason) == (6, None)


def test_a_stop_and_an_interruption_at_once_is_a_stop(parts, play):
    import signal

    class Both(Plugin):
        """Asks for the end in the iteration in which the run is ended."""

        name = "both"

        @hookimpl
        def after_iteration(self, run):
            if run.iteration == 3:
                signal.raise_signal(signal.SIGINT)
                run.stop("three are enough")

    parts.add(Both)
    outcome = play(tricks=tricks(Both)).told.outcome
    assert (outcome.interrupted, outcome.stop_reason) == (False, "three are enough")


def test_plugins_are_told_of_a_run_that_breaks_off(parts, play):
    told = []

    class Poison(Plugin):
        """NaN in D's loss, and then in what it does at the end."""

        name = "poison"

        @hookimpl
        def loss_terms(self, player):
            yield LossTerm("poison", lambda step: step.fake.mean() * float("nan"))

        @hookimpl
        def on_stop(self, run):
            told.append(run.failure)
            raise RuntimeError("and this hides nothing")

    parts.add(Poison)
    with pytest.raises(GankitError, match="fake is nan"):
        play(tricks=tricks(Poison))
    (failure,) = told
    assert "fake is nan" in failure


@pytest.mark.parametrize(("count", "told"), [(3, True), (4, False)])
def test_too_few_images_for_one_batch_are_said(toy_recipe, tmp_path, count, told):
    recipe = toy_recipe(train={"batch_size": 4}, data={"count": count, "classes": 0})
    sentences = []
    start(recipe, tmp_path / "run", Reporter(), sentences.append)
    said = [s for s in sentences if s.startswith("advice: data: 3 images, and a batch holds 4")]
    assert len(said) == told
