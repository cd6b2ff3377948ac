"""Python API: the same results as on the command line."""

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from gankit import GankitError, InputError, Plugin, Recipe, Session, hookimpl, resume, train
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_recipe


@pytest.fixture
def session(toy_recipe):
    return lambda **changes: Session(toy_recipe(**changes))


def test_a_session_has_the_same_result_as_a_run(session, toy_recipe, tmp_path):
    one = session(tricks={"Wander": {}}).train(2)
    # Samples and metrics do not change the training.
    one.grid(8), one.metrics(), one.images(3)
    one.train(1).train()
    assert one.iteration == 6
    one.save(tmp_path / "mine.safetensors")
    run = train(toy_recipe(tricks={"Wander": {}}), tmp_path / "run")
    ours, theirs = load_file(tmp_path / "mine.safetensors"), load_file(run.generator_file)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    sampler = Sampler.load(tmp_path / "mine.safetensors", "cpu")
    assert torch.equal(sampler.sample(4)[0], one.images(4)[0])


def test_losses_warnings_and_images(session):
    one = session()
    assert one.losses == {"generator": {}, "discriminator": {}}
    one.train(1)
    assert set(one.losses["discriminator"]) == {"real", "fake"}
    assert all(isinstance(value, float) for of in one.losses.values() for value in of.values())
    assert one.warnings == []
    images, labels = one.images(4)
    assert (images.shape, images.dtype, labels.tolist()) == ((4, 1, 8, 8), torch.uint8, [0, 1, 0, 1])
    assert one.images(3, "b")[1].tolist() == one.images(3, 1)[1].tolist() == [1, 1, 1]
    assert torch.equal(one.images(3, seed=5)[0], one.images(3, seed=5)[0])
    assert not torch.equal(one.images(3, seed=5)[0], one.images(3, seed=6)[0])
    with pytest.raises(InputError, match="class 'z'"):
        one.images(3, "z")


def test_a_plugin_ends_a_session_and_a_nan_is_an_error(session):
    assert session(tricks={"Stopper": {"iteration": 2}}).train(5).iteration == 2
    with pytest.raises(GankitError, match="nan"):
        session(tricks={"NotANumber": {}}).train(1)


def test_a_failed_run_has_a_report(toy_recipe, tmp_path):
    with pytest.raises(GankitError, match="nan"):
        train(toy_recipe(tricks={"NotANumber": {}}), tmp_path / "run")
    assert "failed at iteration 2: " in (tmp_path / "run" / "report.html").read_text()


def test_recipe_files_and_wrong_recipes(toy_recipe, tmp_path):
    (tmp_path / "toy.toml").write_text(toy_recipe().to_toml())
    assert Session(tmp_path / "toy.toml", ["train.iterations=2"]).train().iteration == 2
    with pytest.raises(InputError, match="there is no recipe nowhere"):
        Session("nowhere")
    with pytest.raises(InputError, match=r"train\.iterations"):
        train(tmp_path / "toy.toml", tmp_path / "run", ["train.iterations=0"])
    assert not (tmp_path / "run").exists()


def test_overrides_need_a_file_or_name(toy_recipe, tmp_path):
    for call in (Session, lambda recipe, overrides: train(recipe, tmp_path / "run", overrides)):
        with pytest.raises(InputError, match=r"pass them to Recipe\.load for a Recipe"):
            call(toy_recipe(), ["sead=5"])
    (tmp_path / "toy.toml").write_text(toy_recipe(tricks={"Wander": {}}).to_toml())
    assert "tricks.Wander" not in Session(tmp_path / "toy.toml", drop=["tricks.Wander"]).recipe.components


@pytest.mark.parametrize("call", [lambda s: s.images(0), lambda s: s.grid(-1), lambda s: s.train(-3)])
def test_a_wrong_number_is_refused(session, call):
    with pytest.raises(InputError, match=r"(0|-1|-3) given"):
        call(session())


def test_closing_calls_on_stop(shelf, toy_recipe):
    closed = []

    class Closes(Plugin):
        name = "Closes"

        @hookimpl
        def on_stop(self):
            closed.append(True)

    shelf.add(Closes)
    with Session(toy_recipe(tricks={"Closes": {}})) as session:
        session.train(1)
        assert not closed
    assert closed == [True]
    assert repr(session) == "<Session of toy at iteration 1>"


class Interrupts(Plugin):
    """Send Ctrl-C in the third iteration, warn, and compute a metric."""

    name = "Interrupts"

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 1:
            run.warn("one iteration is done")
        if run.iteration == 3:
            os.kill(os.getpid(), signal.SIGINT)

    @hookimpl
    def compute_metrics(self, comparison):
        return {"count": float(len(comparison.fake.images))}


def test_ctrl_c_raises_and_the_run_can_be_resumed(shelf, toy_recipe, tmp_path):
    shelf.add(Interrupts)
    recipe = toy_recipe(tricks={"Interrupts": {}}, evaluation={"count": 8})
    with pytest.raises(KeyboardInterrupt, match="is at iteration 3; resume it to continue"):
        train(recipe, tmp_path / "run")
    # The lock is released, so that the same process can resume the run.
    done = resume(tmp_path / "run", ["train.iterations=5"])
    assert (done.iterations, done.metrics, done.stop_reason) == (5, {"count": 8.0}, None)
    assert any(s.startswith("resuming from ") for s in done.warnings)
    again = resume(done.path)
    assert again.generator_file == done.generator_file
    assert Recipe.load(done.path / "recipe.toml").train.iterations == 5
    short = train(recipe.changed(["train.iterations=2"]), tmp_path / "short")
    assert short.warnings[0] == "one iteration is done"


def test_metrics_of_given_samples():
    changes = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 8}}
    one = Session(tiny_recipe({}, changes))
    images = one.run.dataset.read().images
    evaluated = one.run.batches.reference(8, 0, 0).images
    assert one.metrics(evaluated)["mean_distance"] == pytest.approx(0)
    inverted = one.metrics(255 - evaluated)
    assert inverted["mean_distance"] > 0
    # Samples in [-1, 1] are converted to uint8, as those of a generator are.
    assert one.metrics((255 - evaluated).float() / 127.5 - 1) == pytest.approx(inverted)
    with pytest.raises(InputError, match="samples: given with shape and type"):
        one.metrics(images[..., 1:])
    with pytest.raises(InputError, match="at least 2"):
        one.metrics(images[:1])
    assert Session(tiny_recipe()).metrics(images) == {}


def test_metrics_of_the_recipe_do_not_change_the_training():
    changes = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 8}}
    one, other = Session(tiny_recipe({}, changes)), Session(tiny_recipe())
    one.train(2)
    assert one.metrics() == one.metrics()
    assert one.metrics().keys() == {"mean_distance"}
    assert torch.equal(one.train(2).images(4)[0], other.train(4).images(4)[0])


def test_evaluation_is_a_row_of_the_log():
    changes = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 8}}
    one = Session(tiny_recipe({}, changes))
    row = one.evaluate()
    assert (row["iteration"], row["metrics"]) == (0, one.metrics())
    assert row["protocol"]["real images"] == 8
    assert Session(tiny_recipe({})).evaluate() == {}


def test_report_is_optional(toy_recipe, tmp_path):
    train(toy_recipe(), tmp_path / "run", report=False)
    assert not (tmp_path / "run" / "report.html").exists()
    resume(tmp_path / "run", report=False)
    assert not (tmp_path / "run" / "report.html").exists()
    resume(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()
