"""The checks for authors of plugins fail where a promise is broken, and say which."""

import pytest
import torch
from pydantic import Field

from gankit import InputError, Plugin, Settings, Term, hookimpl
from gankit.testing import (
    check_documentation,
    check_effect,
    check_order,
    check_play,
    check_plugin,
    check_resume,
    learnt_by,
    play,
    state_of,
    tiny_game,
    tiny_recipe,
)


class Louder(Plugin):
    """Scales what D is shown of G.

    Source: nobody, 2026.
    """

    name = "louder"

    class Config(Settings):
        gain: float = Field(1.1, gt=0, description="what fake images are multiplied by")

    @hookimpl
    def discriminator_inputs(self, images, labels, source):
        return (images * self.config.gain if source == "fake" else images), labels


class Shifted(Plugin):
    """Adds to what D is shown. Source: nobody."""

    name = "shifted"

    @hookimpl
    def discriminator_inputs(self, images, labels):
        return images + 0.3, labels


class Forgetful(Louder):
    """Louder from turn to turn, and keeps no state. Source: nobody."""

    name = "forgetful"
    turns = 0

    @hookimpl
    def before_d_step(self):
        self.turns += 1

    @hookimpl
    def discriminator_inputs(self, images, labels, source):
        return images * (1 + self.turns / 10), labels


class Watcher(Plugin):
    """Looks on. Source: nobody."""

    name = "watcher"

    @hookimpl
    def after_iteration(self, run):
        assert run.iteration > 0


class Exploding(Plugin):
    """A term without bounds. Source: nobody."""

    name = "exploding"

    @hookimpl
    def loss_terms(self, player):
        return [Term("exploding", lambda step: step.fake_output.logits.sum() * float("inf"))]


class Blind(Plugin):
    """A discriminator that learns nothing. Source: nobody."""

    name = "blind"

    @hookimpl
    def after_backward(self, run, player):
        if player == "discriminator":
            torch._foreach_zero_([p.grad for p in run.parameters[player]])


def test_a_good_plugin_passes_and_its_settings_reach_it():
    check_plugin(Louder)
    check_plugin(Louder, {"gain": 2.0}, {"tricks": {}, "data": {"channels": 1}}, classes=[3])
    assert tiny_game({Louder: {"gain": 2.0}}).plugins["tricks.louder"].config.gain == 2.0


def test_one_that_only_watches_passes_as_that_and_not_as_more():
    check_plugin(Watcher, affects=False)
    with pytest.raises(AssertionError, match="watcher: nothing that is learnt changes"):
        check_effect({Watcher: {}})
    with pytest.raises(AssertionError, match="louder: what is learnt changes, though it is only to watch"):
        check_effect({Louder: {}}, affects=False)


def test_forgotten_state_is_seen():
    with pytest.raises(AssertionError, match=r"a restored game goes another way.*state_dict must give all"):
        check_resume({Forgetful: {}})


def test_a_player_that_learns_nothing_and_losses_without_bounds_are_seen():
    with pytest.raises(AssertionError, match="no gradient reaches the discriminator"):
        check_play({Blind: {}})
    with pytest.raises(Exception, match="is nan"):
        check_play({Exploding: {}})


def test_order_is_that_of_the_dictionary():
    check_order({Louder: {"gain": 2.0}, Shifted: {}})
    with pytest.raises(AssertionError, match="the two orders give different results"):
        check_order({Louder: {"gain": 2.0}, Shifted: {}}, matters=False)
    check_order({Louder: {"gain": 2.0}, Watcher: {}}, matters=False)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"__doc__": None}, "has no docstring"),
        ({"__doc__": "scales"}, "first line is to be a sentence"),
        ({"__doc__": "Scales."}, "does not say `Source:`"),
        ({"name": "Louder Fakes"}, "no snake_case"),
        ({"discriminator_inputs": None}, "implements no hook point"),
        (
            {"Config": type("Config", (Settings,), {"__annotations__": {"x": int}, "x": 3})},
            "Config.x has no description",
        ),
    ],
)
def test_incomplete_documentation_is_seen(attributes, said):
    with pytest.raises(AssertionError, match=said):
        check_documentation(type("Bad", (Louder,), {"__doc__": Louder.__doc__} | attributes))


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize(("channels", "resolution"), [(1, 1), (3, 5), (6, 8)])
def test_the_tiny_game_is_of_any_shape(classes, channels, resolution):
    data = {"classes": classes, "channels": channels, "resolution": resolution}
    check_play({}, {"data": data, "train": {"precision": "bf16"}})


def test_a_tiny_game_starts_alike_every_time_and_wrong_settings_are_a_sentence():
    assert state_of(tiny_game()) == state_of(tiny_game())
    assert learnt_by(play(tiny_game(), 2)) == learnt_by(play(tiny_game(), 2))
    with pytest.raises(InputError, match="gain"):
        tiny_recipe({Louder: {"gain": -1}})


def test_fixtures(tiny_game, check_plugin, device):
    game = tiny_game({Louder: {}}, {"train": {"device": device}})
    assert game.device.type == device
    check_plugin(Watcher, affects=False, classes=[0])


def test_a_game_of_a_plugin_takes_milliseconds(tiny_game):
    """Not a measure of speed: what would take a hundred times as long is found out."""
    import time

    began = time.perf_counter()
    play(tiny_game({Louder: {}}))
    assert time.perf_counter() - began < 3
