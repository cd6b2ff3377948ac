"""A game from Python does what the command line does."""

import pytest
import torch
from safetensors.torch import load_file

from gankit import GankitError, InputError, Session, train
from gankit.sampling import Sampler


@pytest.fixture
def session(toy_recipe):
    return lambda **changes: Session(toy_recipe(**changes))


def test_played_by_hand_it_ends_where_a_run_ends(session, toy_recipe, tmp_path):
    one = session(tricks={"Wander": {}})
    one.play(2).play(1).play()
    assert one.iteration == 6
    one.grid(8), one.measures(), one.images(3)
    one.save(tmp_path / "mine.safetensors")
    run = train(toy_recipe(tricks={"Wander": {}}), tmp_path / "run")
    ours, theirs = load_file(tmp_path / "mine.safetensors"), load_file(run.generator_file)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_looking_leaves_no_trace(session):
    one, other = session(), session()
    one.play(2)
    one.grid(), one.images(5), one.measures()
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
