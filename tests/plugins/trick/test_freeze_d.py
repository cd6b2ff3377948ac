"""Trick: frozen first layers of the discriminator."""

import pytest
import torch
from torch import nn

from gankit import InputError
from gankit.testing import check_plugin, tiny_recipe, tiny_run, train_iterations
from gankit.training.assembly import assemble
from gankit_plugins.trick.freeze_d import FreezeD
from tests.plugins.test_every_plugin import SMALL, STYLEGAN2


class Odd(nn.Module):
    """Network whose layers are called in another order than that of their creation. One is never called."""

    def __init__(self, *_):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(4, 1)
        self.unused = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.first = nn.Linear(3 * 8 * 8, 4)

    def forward(self, images, condition):
        features = self.second(self.norm(self.first(images.flatten(1))))
        return self.head(features).flatten() * self.gain, features


def frozen(network):
    return {name for name, parameter in network.named_parameters() if not parameter.requires_grad}


@pytest.fixture
def odd(assembled, tmp_path):
    """Return a function that assembles a run with `Odd` as its discriminator."""

    def call(layers):
        discriminator = {"use": f"{__file__}:Odd"}
        return assembled({"discriminator": discriminator, "tricks": {"freeze_d": {"layers": layers}}})

    return call


def test_layers_count_in_the_order_of_their_calls(odd):
    first = {"first.weight", "first.bias", "norm.weight", "norm.bias"}
    assert frozen(odd(1).discriminator.network.network) == first
    assert frozen(odd(2).discriminator.network.network) == first | {"second.weight", "second.bias"}


def test_one_layer_must_be_trained(odd):
    with pytest.raises(InputError) as error:
        odd(3)
    names = ", ".join(f"network.network.{name}" for name in ("first", "second", "head"))
    expected = f"has 3 layers with weights ({names}), of which one must be trained; give 2 or less"
    assert str(error.value) == f"recipe: tricks.freeze_d: layers = 3, and the discriminator {expected}"


@pytest.mark.parametrize(
    ("kind", "layers", "expected"),
    [
        ("dcgan", 1, ["body.0.0."]),
        ("stylegan2", 4, ["from_image.", "body.8."]),
        ("pggan", 3, ["from_image.1.", "blocks.1."]),
        ("sngan", 4, ["body.0.", "body.1.residual.1."]),
    ],
)
def test_networks_of_gankit(assembled, kind, layers, expected):
    small = SMALL.get(f"discriminator.{kind}", SMALL.get(kind))
    discriminator = {"use": kind, **small}
    data = {"kinds": ["circle"]}
    tricks = {"freeze_d": {"layers": layers}}
    run = assembled({"discriminator": discriminator, "generator": STYLEGAN2, "data": data, "tricks": tricks})
    names = frozen(run.discriminator)
    assert {next(e for e in [*expected, None] if e is None or name.startswith(e)) for name in names} == set(expected)


def test_spectral_norm_is_no_layer_of_its_own(assembled):
    discriminator = {"use": "igan", "width": 2}
    norm = {"normalization": {"discriminator": "spectral_norm"}}
    run = assembled({"discriminator": discriminator, "tricks": {"freeze_d": {"layers": 1}}} | norm)
    assert frozen(run.discriminator) == {"body.0.0.bias", "body.0.0.parametrizations.weight.original"}


def test_frozen_layers_keep_their_weights_and_the_others_do_not():
    run = tiny_run({FreezeD: {"layers": 1}})
    before = {name: p.detach().clone() for name, p in run.discriminator.named_parameters()}
    train_iterations(run, 3)
    same = {name for name, p in run.discriminator.named_parameters() if torch.equal(p, before[name])}
    assert same == frozen(run.discriminator) == {"conv.weight", "conv.bias"}
    held = {id(p) for group in run.optimizers["discriminator"].param_groups for p in group["params"]}
    assert {name for name, p in run.discriminator.named_parameters() if id(p) in held} == before.keys() - same


def test_random_weights_are_a_warning(tmp_path):
    warnings = assemble(tiny_recipe({FreezeD: {"layers": 1}})).warnings
    assert warnings == [
        "tricks.freeze_d: the frozen layers of the discriminator keep random weights; name a trained discriminator in "
        "init.discriminator"
    ]
    recipe = tiny_recipe({FreezeD: {"layers": 1}}, {"init": {"discriminator": str(tmp_path)}})
    assert assemble(recipe).warnings == []


def test_with_penalties_and_an_unrolled_discriminator():
    check_plugin(FreezeD, {"layers": 1}, {"tricks": {"r1": {}, "unrolled_discriminator": {"steps": 1}}})
