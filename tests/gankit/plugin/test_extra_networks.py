"""Networks of plugins beside the generator and the discriminator."""

import pytest
import torch
from torch import nn

from gankit import ExtraNetwork, Plugin, hookimpl
from gankit.errors import RecipeError
from gankit.testing import check_plugin, tiny_run, train_iterations
from gankit.training.state import capture


def test_a_plugin_with_three_networks_trains_and_resumes(toys):
    check_plugin(toys.Encode)


def states(run):
    return {
        name: {k: v.detach().clone() for k, v in network.named_parameters()} for name, network in run.networks.items()
    }


def changed(before, after):
    return {name for name in before if any(not torch.equal(v, after[name][k]) for k, v in before[name].items())}


@pytest.mark.parametrize(
    ("player", "networks"),
    [("discriminator", {"discriminator", "encoder"}), ("generator", {"generator", "encoder", "critic"})],
)
def test_each_player_updates_only_the_networks_that_it_trains(toys, player, networks):
    class OnlyOne(Plugin):
        name = "only_one"

        @hookimpl
        def step_order(self):
            return [player]

    run = tiny_run({toys.Encode: {}, OnlyOne: {}})
    before, gradients = states(run), {}
    after_backward = run.after_backward

    def record(run, step, player):
        gradients.update(
            {n: any(p.grad is not None for p in network.parameters()) for n, network in run.networks.items()}
        )
        after_backward(run, step, player)

    run.after_backward = record
    train_iterations(run, 1)
    assert changed(before, states(run)) == networks
    assert {name for name, any_gradient in gradients.items() if any_gradient} == networks
    assert all(p.requires_grad == (name != "teacher") for name, n in run.networks.items() for p in n.parameters())


def test_the_gradient_of_a_shared_network_is_that_of_the_step(toys):
    run = tiny_run({toys.Encode: {}})
    encoder = run.networks["encoder"][1]
    steps = []

    def record(run, step, player):
        steps.append(step)
        (loss,) = (t.function(step) for t in run.terms[player] if t.name == "code")
        (expected,) = torch.autograd.grad(loss, encoder.weight, retain_graph=True)
        torch.testing.assert_close(encoder.weight.grad, expected)

    run.after_backward = record
    train_iterations(run, 2)
    assert [step.player for step in steps] == ["discriminator", "generator"] * 2


def test_a_frozen_network_is_in_evaluation_mode_and_a_checkpoint_contains_only_saved_ones(toys):
    run = tiny_run({toys.Encode: {}})
    assert {name: network.training for name, network in run.networks.items()} == {
        "generator": True,
        "discriminator": True,
        "encoder": True,
        "critic": True,
        "teacher": False,
    }
    files = capture(run)[0]
    assert {"encoder.safetensors", "critic.safetensors"} <= set(files)
    assert "teacher.safetensors" not in files


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("generator", {}, "the extra network 'generator' needs another name"),
        ("optimizer", {}, "'optimizer' needs another name: small letters, digits and underscores"),
        ("../encoder", {}, "'../encoder' needs another name"),
        ("encoder", {"trained_by": "generator"}, r"has trained_by='generator'; write a tuple: \('generator',\)"),
        ("encoder", {"trained_by": ("critic",)}, "is trained by 'critic'; the players are generator and discriminator"),
        ("encoder", {"trained_by": ("generator",), "saved": False}, "is trained, so checkpoints must contain it"),
    ],
)
def test_an_extra_network_that_cannot_work_is_refused(name, options, message):
    class Wrong(Plugin):
        name = "wrong"

        @hookimpl
        def extra_networks(self):
            return {network: ExtraNetwork(nn.Linear(2, 2), **options)}

    network = name
    with pytest.raises(RecipeError, match=message) as error:
        tiny_run({Wrong: {}})
    assert "tricks.wrong" in str(error.value)


def test_an_optimiser_without_the_extra_networks_is_refused(toys):
    class OwnOnly(Plugin):
        name, kind = "own_only", "optimizer"

        @hookimpl
        def build_optimizer(self, network):
            return torch.optim.SGD(network.parameters(), 0.1)

    tiny_run({OwnOnly: {}})
    with pytest.raises(
        RecipeError, match="own_only leaves out parameters of the network 'encoder'; the optimiser must"
    ):
        tiny_run({OwnOnly: {}, toys.Encode: {}})


def test_a_network_with_layers_of_the_discriminator_is_refused():
    class Shared(Plugin):
        name = "shared"

        @hookimpl
        def extra_networks(self, run):
            return {"reader": ExtraNetwork(nn.Sequential(run.discriminator, nn.Linear(2, 2)))}

    with pytest.raises(RecipeError, match="'reader' has parameters of the network 'discriminator'; let it take an out"):
        tiny_run({Shared: {}})


def test_two_networks_with_one_name_are_refused(toys):
    class Second(Plugin):
        name = "second"

        @hookimpl
        def extra_networks(self):
            return {"encoder": ExtraNetwork(nn.Linear(2, 2))}

    with pytest.raises(RecipeError, match=r"tricks\.second: the extra network 'encoder' exists twice"):
        tiny_run({toys.Encode: {}, Second: {}})
