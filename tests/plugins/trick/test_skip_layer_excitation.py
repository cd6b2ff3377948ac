"""Trick: skip-layer excitation in any convolutional generator."""

import copy

import pytest
import torch
from torch import nn

from gankit import InputError, Sampler
from gankit.sampling.generator_file import save_generator
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.layers.skip_excitation import SkipLayerExcitation
from gankit_plugins.trick.skip_layer_excitation import ExcitedGenerator

TRICK = "skip_layer_excitation"
AT_32 = {"data": {"resolution": 32, "kinds": ["circle", "ring"]}}
NETWORKS = {
    "dcgan": {"generator": {"use": "dcgan", "width": 4}, "discriminator": {"use": "dcgan", "width": 4}},
    "sngan": {"generator": {"use": "sngan", "width": 4}, "discriminator": {"use": "sngan", "width": 4}},
}


def with_trick(networks="dcgan", change=None, **config):
    return {**AT_32, **NETWORKS[networks], **(change or {}), "tricks": {TRICK: config}}


@pytest.mark.parametrize(
    ("networks", "config", "low", "high"),
    [
        ("dcgan", {}, "body.1", "body.2"),
        ("dcgan", {"low": 4, "high": 8}, "body.0", "body.1"),
        ("sngan", {}, "body.0", "body.2"),
        ("sngan", {"low": 4, "high": 16}, "from_z", "body.1"),
        # The map nearest to `low` is the large one, or a larger one.
        ("dcgan", {"low": 16, "high": 16}, "body.1", "body.2"),
        ("dcgan", {"low": 16, "high": 8}, "body.0", "body.1"),
    ],
)
def test_places_by_size(assembled, networks, config, low, high):
    G = assembled(with_trick(networks, **config)).generator
    assert (G.low, G.high) == (low, high)


def test_large_map_is_multiplied_by_factors_of_the_small_one(assembled):
    """Compare with the layers of the network, called one after the other."""
    G = assembled(with_trick(low=4, high=16)).generator.eval()
    z = torch.randn(3, 100)
    body = G.network.body
    small = body[0](z[:, :, None, None])
    large = body[2](body[1](small))
    factors = G.excitation.factors(nn.functional.adaptive_avg_pool2d(small, 4))
    torch.testing.assert_close(G(z, None), G.network.to_image(large * factors))
    assert not any(module._forward_hooks for module in G.modules())


def test_two_pairs(start_run):
    change = with_trick("sngan")
    change["tricks"] = {"first": {"use": TRICK, "low": 4, "high": 16}, "second": {"use": TRICK, "low": 8, "high": 32}}
    run = train_iterations(start_run(change), 1)
    G = run.generator.eval()
    assert isinstance(G.network, ExcitedGenerator)
    inner, z = G.network.network, torch.randn(2, 100)
    first, second = G.network.excitation, G.excitation
    small = inner.from_z(z)
    middle = inner.body[0](small)
    large = inner.body[2](first(small, inner.body[1](middle)))
    torch.testing.assert_close(G(z, None), inner.to_image(second(middle, large)))


def test_gradients_reach_all_its_parameters(start_run):
    run = start_run(with_trick("sngan"))
    run.generator(torch.randn(2, 100), None).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in run.generator.excitation.parameters())


@pytest.mark.parametrize("norm", ["batch_norm", "spectral_norm", "conditional_batch_norm"])
def test_generator_file_has_the_excitation(start_run, tmp_path, norm):
    run = train_iterations(start_run(with_trick("sngan", {"normalization": {"generator": {"use": norm}}})), 2)
    save_generator(run, tmp_path / "generator.safetensors")
    loaded = Sampler.load(tmp_path / "generator.safetensors")
    assert torch.equal(Sampler.of_run(run).sample(4, seed=1)[0], loaded.sample(4, seed=1)[0])


def test_copy_is_whole_and_apart(start_run):
    G = train_iterations(start_run(with_trick()), 1).generator.eval()
    copied, z = copy.deepcopy(G), torch.randn(2, 100)
    assert torch.equal(copied(z, None), G(z, None))
    nn.init.ones_(copied.excitation.factors[2].bias)
    assert not torch.equal(copied(z, None), G(z, None))


def test_run_resumes_exactly():
    change = NETWORKS["sngan"] | {"data": {"resolution": 16}}
    check_resume({}, change | {"tricks": {TRICK: {}, "moving_average": {}}}, before=1, after=1)


@pytest.mark.parametrize("other", ["self_attention", "spectral_weights", "moving_average", "skip_z", "dropout"])
def test_with_other_tricks(other):
    for order in ([TRICK, other], [other, TRICK]):
        change = NETWORKS["sngan"] | {"data": {"resolution": 16}, "tricks": {name: {} for name in order}}
        train_iterations(tiny_run({}, change), 1)


def test_virtual_batch_norm_gives_the_reference_batch_its_own_factors(start_run):
    change = {"normalization": {"generator": {"use": "virtual_batch_norm", "size": 4}}}
    run = start_run(with_trick("sngan", change))
    sizes = []
    (excitation,) = (m for m in run.generator.modules() if isinstance(m, SkipLayerExcitation))
    excitation.register_forward_hook(lambda m, x, y: sizes.append(len(y)))
    run.generator(torch.randn(2, 100), None)
    assert sizes == [4, 2]
    train_iterations(run, 1)


def test_refusals(assembled):
    with pytest.raises(InputError, match="FullyConnectedGenerator has no layers that return feature maps"):
        assembled({"generator": {"use": "mlp", "hidden": [4]}, "tricks": {TRICK: {}}})
    with pytest.raises(InputError, match=r"igan_vn has a network for each class"):
        assembled({"tricks": {TRICK: {}}}, "igan_vn")
    sentence = "no smaller feature map comes before body.0 of DcganGenerator, .* there are sides of 4, 8, 16 pixels"
    with pytest.raises(InputError, match=sentence):
        assembled(with_trick(low=16, high=4))
