"""Checks for authors of plugins: a good plugin passes, and each broken rule is named."""

import importlib
import math
from pathlib import Path

import click
import pytest
import torch
from pydantic import Field
from torch import nn

import gankit.testing
from gankit import Dataset, InputError, LossTerm, Plugin, Settings, hookimpl
from gankit.testing import (
    check_dataset,
    check_documentation,
    check_effect,
    check_order,
    check_plugin,
    check_training,
    state_of,
    tiny_recipe,
    tiny_run,
    train_iterations,
    weights_of,
)


class Louder(Plugin):
    """Scale the fake images that enter D.

    Source: none.
    """

    name = "louder"

    class Config(Settings):
        gain: float = Field(1.1, gt=0, description="factor of the fake images")

    @hookimpl
    def discriminator_inputs(self, images, condition, source):
        return (images * self.config.gain if source == "fake" else images), condition


class Shifted(Plugin):
    """Shift the images that enter D. Source: none."""

    name = "shifted"

    @hookimpl
    def discriminator_inputs(self, images, condition):
        return images + 0.3, condition


class Watcher(Plugin):
    """Do nothing. Source: none."""

    name = "watcher"

    @hookimpl
    def after_iteration(self, run):
        assert run.iteration > 0


def test_a_good_plugin_passes_and_gets_its_settings():
    check_plugin(Louder, {"gain": 2.0}, {"tricks": {}, "data": {"channels": 1}}, classes=[0, 3])
    assert tiny_run({Louder: {"gain": 2.0}}).plugins["tricks.louder"].config.gain == 2.0


def test_a_plugin_without_effect_passes_only_with_affects_false():
    check_plugin(Watcher, affects=False, classes=[0])
    with pytest.raises(AssertionError, match="watcher: no effect on the weights"):
        check_effect({Watcher: {}})
    with pytest.raises(AssertionError, match="louder: the weights change, but affects=False"):
        check_effect({Louder: {}}, affects=False)


def test_check_order():
    check_order({Louder: {"gain": 2.0}, Shifted: {}})
    with pytest.raises(AssertionError, match="the two orders give different results"):
        check_order({Louder: {"gain": 2.0}, Shifted: {}}, matters=False)
    check_order({Louder: {"gain": 2.0}, Watcher: {}}, matters=False)
    check_order({Louder: {"gain": 2.0}, "instance_noise": {"sigma": 0.3}})
    with pytest.raises(AssertionError, match=r"loud: only plugins in \[tricks\] have an order"):
        check_order({Loud: {}, Louder: {}})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"__doc__": None}, "has no docstring"),
        ({"__doc__": "scales"}, "the first line of the docstring must be a sentence"),
        ({"__doc__": "Scales."}, "the docstring has no `Source:`"),
        ({"name": "Louder Fakes"}, "must be snake_case"),
        ({"discriminator_inputs": None}, "implements no hook point"),
        ({"sampling_ranges": {"psi": (0.0, 1.0)}}, "sampling_ranges: there are no settings psi in Config"),
        (
            {"Config": type("Config", (Settings,), {"__annotations__": {"x": int}, "x": 3})},
            "Config.x has no description",
        ),
    ],
)
def test_incomplete_documentation_is_detected(attributes, message):
    with pytest.raises(AssertionError, match=message):
        check_documentation(type("Bad", (Louder,), {"__doc__": Louder.__doc__} | attributes))


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize(("channels", "resolution"), [(1, 1), (3, 5), (6, 8)])
def test_tiny_runs_of_all_shapes_train(classes, channels, resolution):
    data = {"classes": classes, "channels": channels, "resolution": resolution}
    check_training({}, {"data": data, "train": {"precision": "bf16"}})


def test_tiny_runs_are_reproducible_and_refuse_wrong_settings():
    assert state_of(tiny_run()) == state_of(tiny_run())
    assert weights_of(train_iterations(tiny_run(), 2)) == weights_of(train_iterations(tiny_run(), 2))
    with pytest.raises(InputError, match="gain"):
        tiny_recipe({Louder: {"gain": -1}})


def test_fixtures(tiny_run, check_plugin, gankit_device):
    run = tiny_run({Louder: {}}, {"train": {"device": gankit_device}})
    assert run.device.type == gankit_device
    assert check_plugin is gankit.testing.check_plugin


# One plugin for each rule that it breaks, tested by all checks at once


def broken(hooks, **attributes):
    """Return a plugin class that follows every rule except the one that the arguments break."""
    marked = {hook: hookimpl(function) for hook, function in hooks.items()}
    defaults = {"__doc__": "Break a rule. Source: none.", "name": "x"}
    return type("X", (Plugin,), defaults | attributes | marked)


def louder(self, images, condition):
    return images * 1.1, condition


def seldom(every):
    """Return hooks that scale images every n-th D step, by a counter that is not saved."""

    def count(self):
        self.steps = getattr(self, "steps", 0) + 1

    def change(self, images, condition):
        return images * (2.0 if getattr(self, "steps", 0) % every == 0 else 1.1), condition

    return {"before_d_step": count, "discriminator_inputs": change}


def cut_off(self, player, network):
    """Wrap the generator with a parameter that gets no gradient."""

    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.bias = network, nn.Parameter(torch.ones(1))

        def forward(self, z, labels):
            return (self.inner(z, labels) + 0 * self.bias.detach()).tanh()

    return Cut() if player == "generator" else network


def in_place(self, images, condition, source):
    return (images.mul_(0.9) if source == "real" else images), condition


def zero_gradient(self, run, player):
    if player == "discriminator":
        torch._foreach_zero_([p.grad for p in run.parameters[player]])


def second_step(self, run, player):
    run.optimizers[player].step()


def own_backward(step):
    step.fake_output.logits.mean().backward(retain_graph=True)
    return step.fake_output.logits.mean()


CACHE = []


def cached(self, images, condition):
    if not CACHE:
        CACHE.append(torch.rand(1))
    return images * CACHE[0], condition


def only_rgb(self, images, condition):
    return images * torch.full((1, 3, 1, 1), 0.9), condition


def only_eight(self, images, condition):
    return images * torch.full((8, 1, 1, 1), 0.9), condition


def without_a_run(self, run, player, network):
    network.recipe = run.recipe.name
    return network


def failing(self):
    raise RuntimeError("this hook failed")


BROKEN = {
    "in place": (broken({"discriminator_inputs": in_place}), "changed in place"),
    "cut off": (broken({"wrap_network": cut_off}), "no gradient reaches the generator's bias"),
    "zero gradient": (broken({"after_backward": zero_gradient}), "no gradient reaches the discriminator"),
    "infinite": (
        broken({"loss_terms": lambda self: [LossTerm("x", lambda step: step.fake_output.logits.sum() * math.inf)]}),
        r"the discriminator's x is (nan|-?inf)",
    ),
    "steps": (broken({"after_backward": second_step}), "optimiser made 8 steps in 4 steps of training"),
    "backward": (
        broken({"loss_terms": lambda self: [LossTerm("x", own_backward)]}),
        r"backward\(\) was called 16 times",
    ),
    "float": (
        broken({"loss_terms": lambda self: [LossTerm("x", lambda step: 0.5)]}),
        "the discriminator's term 'x' returns 0.5",
    ),
    "vector": (
        broken({"loss_terms": lambda self: [LossTerm("x", lambda step: step.fake_output.logits)]}),
        r"returns a tensor of shape \(8,\)",
    ),
    "misspelt field": (
        broken({"before_d_step": lambda self, step: setattr(step, "real_targt", torch.rand(3))}),
        "a step has no 'real_targt'; did you mean 'real_target'",
    ),
    "random only": (broken({"before_d_step": lambda self: torch.rand(3)}), "no effect on the weights"),
    "every second": (broken(seldom(2)), "a resumed run ends with another result.*state_dict must return all"),
    "every fourth": (broken(seldom(4)), "ends with another result"),
    "every eighth": (broken(seldom(8)), "ends with another result"),
    "nested state": (
        broken({"discriminator_inputs": louder}, state_dict=lambda self: {"a": {"b": 1}}),
        "state_dict returns a dict under 'a'",
    ),
    "key lost": (
        broken(
            {"discriminator_inputs": louder},
            state_dict=lambda self: {"a": 1},
            load_state_dict=lambda self, state: state["b"],
        ),
        r"tricks\.x cannot load the state that it saved \(a\): KeyError: 'b'",
    ),
    "state outside the plugin": (broken({"discriminator_inputs": cached}), "a second run of the same recipe"),
    "three channels": (broken({"discriminator_inputs": only_rgb}), "1 channels, but got 3"),
    "eight images": (broken({"discriminator_inputs": only_eight}), "must match"),
    "no run when sampling": (broken({"wrap_network": without_a_run, "discriminator_inputs": louder}), "NoneType"),
    "fails when sampling": (
        broken({"discriminator_inputs": louder, "sampling_latent": failing}),
        "this hook failed",
    ),
    "encoder with another shape": (
        broken({"discriminator_inputs": louder, "encode": lambda self, images: images.flatten(1)}),
        r"tricks\.x: `encode` returns a tensor of shape \(8, 192\); it must return z of shape \(8, 4\)",
    ),
    "fails in metrics": (
        broken({"discriminator_inputs": louder, "compute_metrics": failing}),
        "this hook failed",
    ),
    "metric in words": (
        broken({"discriminator_inputs": louder, "compute_metrics": lambda self: {"x": "good"}}),
        "the metric 'x' is 'good'",
    ),
    "fails at the end": (broken({"discriminator_inputs": louder, "on_stop": failing}), "this hook failed"),
    "a rate": (
        broken({"lr_schedule": lambda self: 0.5}),
        r"X.lr_schedule \(tricks.x\) returns 0.5; it must return a function",
    ),
    "no super": (
        broken({"discriminator_inputs": louder}, __init__=lambda self, config: None),
        r"does not call super\(\).__init__\(config\)",
    ),
    "no name": (broken({"discriminator_inputs": louder}, name=None), "has no name"),
    "no kind": (
        broken({"discriminator_inputs": louder}, kind="tricks"),
        "kind is 'tricks'; the kinds are data",
    ),
    "no plugin": (type("Alien", (), {}), "Alien is not a subclass of gankit.Plugin"),
    "a command with another name": (
        broken({"register_commands": lambda self, cli: cli.add_command(click.Command("y"))}, kind="command"),
        "it adds y; it must add a command with its name, x",
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named(rule):
    plugin_class, message = BROKEN[rule]
    CACHE.clear()
    with pytest.raises(Exception, match=message):
        check_plugin(plugin_class, classes=[0])


def test_a_command_with_its_own_name_passes():
    check_plugin(broken({"register_commands": lambda self, cli: cli.add_command(click.Command("x"))}, kind="command"))


class Loud(Plugin):
    """Generator of values outside [-1, 1]. Source: none."""

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


CRITIC = '''
import math

from torch import nn

from gankit import DiscriminatorOutput, Plugin, hookimpl


class Critic(Plugin):
    """Discriminator that only its partner can train."""

    name, kind = "critic", "discriminator"

    @hookimpl
    def build_discriminator(self, spec):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Linear(math.prod(spec.shape), 8)
                self.head = nn.Linear(8, 1)

            def forward(self, images, labels):
                features = self.body(images.flatten(1)).relu()
                return DiscriminatorOutput(self.head(features).flatten(), features)

        return Network()
'''


PARTNER = '''
from gankit import Plugin, hookimpl


class Partner(Plugin):
    """Trick that needs the plugin `critic`.

    Source: none.
    """

    name = "partner"

    @hookimpl
    def check_recipe(self, recipe):
        if recipe.use_of("discriminator") != "critic":
            raise ValueError("this trick needs the critic")

    @hookimpl
    def before_d_step(self, step):
        step.real_target = 0.5
'''


def test_a_partner_is_given_by_path(tmp_path, monkeypatch):
    (tmp_path / "critic.py").write_text(CRITIC)
    (tmp_path / "partner_of_critic.py").write_text(PARTNER)
    monkeypatch.syspath_prepend(tmp_path)
    partner = importlib.import_module("partner_of_critic").Partner
    check_plugin(partner, changes={"discriminator": {"use": "./critic.py:Critic"}}, classes=[0])


def test_a_plugin_without_a_file_may_name_a_path(monkeypatch):
    monkeypatch.setattr(Louder, "__module__", "__notebook__")
    assert gankit.testing.checks.folder_of(Louder) == Path()


def test_values_out_of_range_are_detected():
    with pytest.raises(AssertionError, match=r"G returns values up to .*; images are in \[-1, 1\]"):
        check_training({Loud: {}})
    check_training({Loud: {}}, linear_output=True)


def test_a_dataset_that_differs_from_its_description_is_detected():
    with pytest.raises(InputError, match=r"the images have shape \(4, 3, 2, 2\), but the data plugin describes"):
        check_dataset(Dataset((1, 2, 2), None, lambda: (torch.zeros(4, 3, 2, 2), None)))


def test_a_stream_in_another_order_is_detected():
    images = torch.rand(4, 1, 2, 2)
    check_dataset(
        Dataset((1, 2, 2), None, lambda: (images, None), stream=lambda: iter([(images[:1], None), (images[1:], None)]))
    )
    with pytest.raises(AssertionError, match="another order"):
        check_dataset(Dataset((1, 2, 2), None, lambda: (images, None), stream=lambda: iter([(images.flip(0), None)])))


def test_the_effect_of_a_trick_that_the_recipe_has_twice():
    check_effect({Louder: {}}, {"tricks": {"again": {"use": "louder", "gain": 2.0}}})


class Growing(Plugin):
    """Generator with a second layer that is used later. Source: own example."""

    name, kind = "growing", "generator"

    @hookimpl
    def build_generator(self, spec):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Linear(spec.latent_size, math.prod(spec.shape))
                self.later = nn.Linear(2, 2)

            def forward(self, z, labels):
                return self.first(z).tanh().view(-1, *spec.shape)

        return Network()


def test_parameters_that_are_used_later_are_named():
    with pytest.raises(AssertionError, match=r"no gradient reaches the generator's later.bias, later.weight"):
        check_plugin(Growing)
    with pytest.raises(AssertionError, match=r"no gradient reaches the generator's later.bias\n"):
        check_plugin(Growing, unreached=["later.w"])
    check_plugin(Growing, unreached=["later."])
