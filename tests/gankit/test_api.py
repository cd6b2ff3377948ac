"""A game from Python does what the command line does."""

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


def test_played_by_hand_it_ends_where_a_run_ends(session, toy_recipe, tmp_path):
    one = session(tricks={"Wander": {}})
    one.play(2).play(1).play()
    assert one.iteration == 6
    one.grid(8), one.metrics(), one.images(3)
    one.save(tmp_path / "mine.safetensors")
    run = train(toy_recipe(tricks={"Wander": {}}), tmp_path / "run")
    ours, theirs = load_file(tmp_path / "mine.safetensors"), load_file(run.generator_file)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_looking_leaves_no_trace(session):
    one, other = session(), session()
    one.play(2)
    one.grid(), one.images(5), one.metrics()
    one.play(2)
    other.play(4)
    assert torch.equal(one.images(4)[0], other.images(4)[0])


def test_losses_and_advice(session):
    one = session()
    assert one.losses == {"generator": {}, "discriminator": {}}
    one.play(1)
    assert set(one.losses["discriminator"]) == {"real", "fake"}
    assert all(isinstance(value, float) for of in one.losses.values() for value in of.values())
    assert one.advice == []


def test_images_and_classes(session):
    one = session()
    images, labels = one.images(4)
    assert (images.shape, images.dtype, labels.tolist()) == ((4, 1, 8, 8), torch.uint8, [0, 1, 0, 1])
    assert one.images(3, "b")[1].tolist() == [1, 1, 1]
    assert torch.equal(one.images(3, seed=5)[0], one.images(3, seed=5)[0])
    assert not torch.equal(one.images(3, seed=5)[0], one.images(3, seed=6)[0])
    with pytest.raises(InputError, match="class 'z'"):
        one.images(3, "z")


def test_a_saved_generator_is_sampled_from(session, tmp_path):
    one = session().play(2)
    one.save(tmp_path / "g.safetensors")
    assert torch.equal(Sampler.load(tmp_path / "g.safetensors", "cpu").sample(4)[0], one.images(4)[0])


def test_a_plugin_ends_it_and_what_breaks_down_is_said(session):
    assert session(tricks={"Stopper": {"iteration": 2}}).play(5).iteration == 2
    with pytest.raises(GankitError, match="nan"):
        session(tricks={"NotANumber": {}}).play(1)


def test_recipes_by_file_and_wrong_ones(toy_recipe, tmp_path):
    (tmp_path / "toy.toml").write_text(toy_recipe().to_toml())
    assert Session(tmp_path / "toy.toml", ["train.iterations=2"]).play().iteration == 2
    with pytest.raises(InputError, match="there is no recipe nowhere"):
        Session("nowhere")
    with pytest.raises(InputError, match=r"train\.iterations"):
        train(tmp_path / "toy.toml", tmp_path / "run", ["train.iterations=0"])
    assert not (tmp_path / "run").exists()


def test_overrides_go_with_a_file_and_not_with_a_recipe(toy_recipe, tmp_path):
    for call in (Session, lambda recipe, overrides: train(recipe, tmp_path / "run", overrides)):
        with pytest.raises(InputError, match=r"a Recipe takes them in Recipe\.load"):
            call(toy_recipe(), ["sead=5"])
    (tmp_path / "toy.toml").write_text(toy_recipe(tricks={"Wander": {}}).to_toml())
    assert "tricks.Wander" not in Session(tmp_path / "toy.toml", drop=["tricks.Wander"]).recipe.components


@pytest.mark.parametrize("asked", [lambda s: s.images(0), lambda s: s.grid(-1), lambda s: s.play(-3)])
def test_less_than_nothing_is_a_sentence(session, asked):
    with pytest.raises(InputError, match=r"(0|-1|-3) given"):
        asked(session())


def test_classes_by_number(session):
    assert session().images(3, 1)[1].tolist() == [1, 1, 1]


def test_closing_tells_the_plugins(shelf, toy_recipe):
    closed = []

    class Closes(Plugin):
        """Notes the end."""

        name = "Closes"

        @hookimpl
        def on_stop(self):
            closed.append(True)

    shelf.add(Closes)
    with Session(toy_recipe(tricks={"Closes": {}})) as session:
        session.play(1)
        assert not closed
    assert closed == [True]
    assert repr(session) == "<Session of toy, 1 iterations played>"


class Rings(Plugin):
    """Presses Ctrl-C in the third iteration, and has something to say and to measure."""

    name = "Rings"

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 1:
            run.warn("one is played")
        if run.iteration == 3:
            os.kill(os.getpid(), signal.SIGINT)

    @hookimpl
    def evaluate(self, run):
        return {"played": float(run.iteration)}


def test_ctrl_c_is_no_end_like_another_and_the_run_goes_on(shelf, toy_recipe, tmp_path):
    shelf.add(Rings)
    with pytest.raises(KeyboardInterrupt, match="stands at iteration 3; resume goes on"):
        train(toy_recipe(tricks={"Rings": {}}), tmp_path / "run")
    # The lock is free again, in this process too, while the result lives.
    done = resume(tmp_path / "run", ["train.iterations=5"])
    assert (done.iterations, done.metrics, done.stop_reason) == (5, {"played": 5.0}, None)
    assert done.advice[-1].startswith("resuming from ")
    again = resume(done.path)
    assert again.generator_file == done.generator_file
    assert Recipe.load(done.path / "recipe.toml").train.iterations == 5


def test_what_was_said_on_the_way_comes_back(shelf, toy_recipe, tmp_path):
    shelf.add(Rings)
    done = train(toy_recipe(tricks={"Rings": {}}, train={"iterations": 2}), tmp_path / "run")
    assert done.advice == ["one is played"]
    assert done.metrics == {"played": 2.0}


def test_measures_of_the_recipe_are_taken_and_leave_no_trace():
    changes = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 8}}
    one, other = Session(tiny_recipe({}, changes)), Session(tiny_recipe())
    one.play(2)
    assert one.metrics() == one.metrics()
    assert one.metrics().keys() == {"mean_distance"}
    assert torch.equal(one.play(2).images(4)[0], other.play(4).images(4)[0])
