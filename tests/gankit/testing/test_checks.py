"""The checks for authors of plugins fail where a promise is broken, and say which."""

import click
import pytest
import torch
from pydantic import Field
from torch import nn

from gankit import Dataset, GankitError, InputError, LossTerm, Plugin, Settings, hookimpl
from gankit.testing import (
    check_dataset,
    check_documentation,
    check_effect,
    check_order,
    check_play,
    check_plugin,
    check_resume,
    state_of,
    tiny_recipe,
    tiny_run,
    train_iterations,
    weights_of,
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
        return [LossTerm("exploding", lambda step: step.fake_output.logits.sum() * float("inf"))]


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
    assert tiny_run({Louder: {"gain": 2.0}}).plugins["tricks.louder"].config.gain == 2.0


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
    with pytest.raises(GankitError, match=r"the discriminator's exploding is (nan|-?inf)"):
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
    assert state_of(tiny_run()) == state_of(tiny_run())
    assert weights_of(train_iterations(tiny_run(), 2)) == weights_of(train_iterations(tiny_run(), 2))
    with pytest.raises(InputError, match="gain"):
        tiny_recipe({Louder: {"gain": -1}})


def test_fixtures(tiny_run, check_plugin, gankit_device):
    run = tiny_run({Louder: {}}, {"train": {"device": gankit_device}})
    assert run.device.type == gankit_device
    check_plugin(Watcher, affects=False, classes=[0])


def test_a_game_of_a_plugin_takes_milliseconds(tiny_run):
    """Not a measure of speed: what would take a hundred times as long is found out."""
    import time

    began = time.perf_counter()
    train_iterations(tiny_run({Louder: {}}))
    assert time.perf_counter() - began < 3


# One plugin for each promise that it breaks, through all of the checks at once


def broken(hooks, **attributes):
    """A plugin that holds all that is asked for, but for what is given."""
    marked = {hook: hookimpl(function) for hook, function in hooks.items()}
    kept = {"__doc__": "Breaks a promise. Source: nobody.", "name": "x"}
    return type("X", (Plugin,), kept | attributes | marked)


def louder(self, images, labels):
    return images * 1.1, labels


def seldom(every):
    """Louder every so many turns of D, by a counter that nobody saves."""

    def count(self):
        self.turns = getattr(self, "turns", 0) + 1

    def change(self, images, labels):
        return images * (2.0 if getattr(self, "turns", 0) % every == 0 else 1.1), labels

    return {"before_d_step": count, "discriminator_inputs": change}


def cut_off(self, player, network):
    """A generator one part of which learns nothing."""

    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.bias = network, nn.Parameter(torch.ones(1))

        def forward(self, z, labels):
            return (self.inner(z, labels) + 0 * self.bias.detach()).tanh()

    return Cut() if player == "generator" else network


def in_place(self, images, labels, source):
    return (images.mul_(0.9) if source == "real" else images), labels


def second_step(self, run, player):
    run.optimizers[player].step()


def own_backward(step):
    step.fake_output.logits.mean().backward(retain_graph=True)
    return step.fake_output.logits.mean()


CACHE = []


def cached(self, images, labels):
    if not CACHE:
        CACHE.append(torch.rand(1))
    return images * CACHE[0], labels


def only_rgb(self, images, labels):
    return images * torch.full((1, 3, 1, 1), 0.9), labels


def only_eight(self, images, labels):
    return images * torch.full((8, 1, 1, 1), 0.9), labels


def without_a_run(self, run, player, network):
    assert run.recipe.name
    return network


def failing(self):
    raise RuntimeError("never tried")


BROKEN = {
    "in place": (broken({"discriminator_inputs": in_place}), "changed in place"),
    "cut off": (broken({"wrap_network": cut_off}), "no gradient reaches the generator's bias"),
    "steps": (broken({"after_backward": second_step}), "optimiser took 8 steps in 4 turns"),
    "backward": (
        broken({"loss_terms": lambda self: [LossTerm("x", own_backward)]}),
        r"backward\(\) was called 16 times",
    ),
    "float": (
        broken({"loss_terms": lambda self: [LossTerm("x", lambda step: 0.5)]}),
        "the discriminator's term 'x' gave 0.5",
    ),
    "vector": (
        broken({"loss_terms": lambda self: [LossTerm("x", lambda step: step.fake_output.logits)]}),
        r"gave a tensor of shape \(8,\)",
    ),
    "misspelt field": (
        broken({"before_d_step": lambda self, step: setattr(step, "real_targt", torch.rand(3))}),
        "a step has no 'real_targt'; did you mean 'real_target'",
    ),
    "random only": (broken({"before_d_step": lambda self: torch.rand(3)}), "nothing that is learnt changes"),
    "every second": (broken(seldom(2)), "goes another way"),
    "every fourth": (broken(seldom(4)), "goes another way"),
    "every eighth": (broken(seldom(8)), "goes another way"),
    "nested state": (
        broken({"discriminator_inputs": louder}, state_dict=lambda self: {"a": {"b": 1}}),
        "state_dict gives a dict under 'a'",
    ),
    "key lost": (
        broken(
            {"discriminator_inputs": louder},
            state_dict=lambda self: {"a": 1},
            load_state_dict=lambda self, state: state["b"],
        ),
        r"tricks\.x does not take back what it saved \(a\): KeyError: 'b'",
    ),
    "kept outside": (broken({"discriminator_inputs": cached}), "ends otherwise the second time"),
    "three channels": (broken({"discriminator_inputs": only_rgb}), "1 channels, but got 3"),
    "eight images": (broken({"discriminator_inputs": only_eight}), "must match"),
    "no run when sampling": (broken({"wrap_network": without_a_run, "discriminator_inputs": louder}), "NoneType"),
    "fails when sampling": (
        broken({"discriminator_inputs": louder, "sampling_latent": failing}),
        "never tried",
    ),
    "fails when measuring": (
        broken({"discriminator_inputs": louder, "evaluate": failing}),
        "never tried",
    ),
    "measures in words": (
        broken({"discriminator_inputs": louder, "evaluate": lambda self: {"x": "good"}}),
        "evaluate gives 'good' for 'x'",
    ),
    "fails at the end": (broken({"discriminator_inputs": louder, "on_stop": failing}), "never tried"),
    "a rate": (broken({"lr_schedule": lambda self: 0.5}), "lr_schedule returns 0.5; a function of the iteration"),
    "no super": (
        broken({"discriminator_inputs": louder}, __init__=lambda self, config: None),
        r"does not call super\(\).__init__\(config\)",
    ),
    "no name": (broken({"discriminator_inputs": louder}, name=None), "has no name"),
    "no kind": (broken({"discriminator_inputs": louder}, kind="tricks"), "kind is 'tricks'; there are data, latent"),
    "no plugin": (type("Alien", (), {}), "Alien is not a subclass of gankit.Plugin"),
    "a verb of another name": (
        broken({"register_commands": lambda self, cli: cli.add_command(click.Command("y"))}, kind="command"),
        "it adds y; the verb bears the plugin's name, x",
    ),
}


@pytest.mark.parametrize("promise", BROKEN)
def test_what_breaks_a_promise_is_found_out(promise):
    plugin_class, said = BROKEN[promise]
    CACHE.clear()
    with pytest.raises(Exception, match=said):
        check_plugin(plugin_class)


def test_a_verb_of_its_own_name_is_fine():
    check_plugin(broken({"register_commands": lambda self, cli: cli.add_command(click.Command("x"))}, kind="command"))


class Loud(Plugin):
    """Images that are too bright. Source: nobody."""

    name, kind = "loud", "generator"

    @hookimpl
    def build_generator(self, spec):
        class Generator(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.full((1,), 3.0))

            def forward(self, z, labels):
                return self.scale * z.mean(1).tanh().view(-1, 1, 1, 1).expand(-1, spec.channels, 8, 8)

        return Generator()


def test_images_out_of_range_are_seen():
    with pytest.raises(AssertionError, match=r"G draws values up to .*; images lie in \[-1, 1\]"):
        check_play({Loud: {}})


@pytest.mark.parametrize(
    ("images", "labels", "names", "said"),
    [
        (torch.zeros(4, 1, 2, 2), torch.zeros(4), ("a",), "labels are torch.float32; int64 is wanted"),
        (50 * torch.ones(4, 1, 2, 2), None, (), "values up to 50"),
        (torch.zeros(4, 1, 2, 2, dtype=torch.int64), None, (), "images are torch.int64; uint8 is wanted"),
        (torch.zeros(4, 3, 2, 2), None, (), "is promised"),
        (torch.zeros(4, 1, 2, 2), None, ("a",), "labels and class_names go together"),
        (torch.zeros(4, 1, 2, 2), torch.full((4,), 2), ("a", "b"), "a label is 2"),
        (torch.zeros(4, 1, 2, 2), torch.zeros(3, dtype=torch.int64), ("a",), "for 4 images"),
    ],
)
def test_a_dataset_that_is_not_what_it_promised(images, labels, names, said):
    with pytest.raises(AssertionError, match=said):
        check_dataset(Dataset(1, 2, names, lambda: (images, labels)))


def test_a_stream_in_another_order():
    images = torch.rand(4, 1, 2, 2)
    check_dataset(
        Dataset(1, 2, (), lambda: (images, None), stream=lambda: iter([(images[:1], None), (images[1:], None)]))
    )
    with pytest.raises(AssertionError, match="another order"):
        check_dataset(Dataset(1, 2, (), lambda: (images, None), stream=lambda: iter([(images.flip(0), None)])))


def test_order_of_a_trick_that_is_installed():
    check_order({Louder: {"gain": 2.0}, "instance_noise": {"sigma": 0.3}})
    with pytest.raises(AssertionError, match="loud: only tricks have an order"):
        check_order({Loud: {}, Louder: {}})


def test_the_same_trick_twice_has_the_effect_that_it_has_twice():
    check_effect({Louder: {}}, {"tricks": {"again": {"use": "louder", "gain": 2.0}}})
