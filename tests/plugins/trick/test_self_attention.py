"""Trick: self-attention."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gankit import InputError, Sampler
from gankit.sampling.generator_file import save_generator
from gankit.testing import check_plugin, tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.layers.probe import FeatureMap, feature_maps
from gankit_plugins.layers.self_attention import SelfAttention, attention
from gankit_plugins.trick.self_attention import AttendedLayer, SelfAttentionTrick, nearest


def plain(layer, features):
    return layer


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = SelfAttention(16, plain).double()
    nn.init.constant_(layer.gamma, 0.7)
    return layer


def test_attention_by_a_naive_double_loop():
    B, K, C, N = 2, 3, 4, 5
    f, g, h = noise(3, B, K, N)[0], noise(2, B, K, N)[1], noise(B, C, N)
    expected = torch.zeros(B, C, N, dtype=torch.float64)
    for b in range(B):
        for j in range(N):
            s = [sum(f[b, k, i].item() * g[b, k, j].item() for k in range(K)) for i in range(N)]
            total = sum(map(math.exp, s))
            for i in range(N):
                expected[b, :, j] += math.exp(s[i]) / total * h[b, :, i]
    torch.testing.assert_close(attention(f, g, h), expected)


def test_layer_is_equation_3(layer):
    x = noise(2, 16, 3, 4)
    weights = [getattr(layer, name).weight[:, :, 0, 0] for name in "fghv"]
    assert [tuple(W.shape) for W in weights] == [(2, 16)] * 3 + [(16, 2)]
    pixels = x.flatten(2)
    f, g, h = (torch.einsum("kc,bcn->bkn", W, pixels) for W in weights[:3])
    o = torch.einsum("ck,bkn->bcn", weights[3], attention(f, g, h))
    torch.testing.assert_close(layer(x), (pixels + 0.7 * o).view_as(x))


def test_equal_positions_get_equal_attention():
    """If all keys are equal, o is the mean of the values at every position."""
    f, g, h = torch.ones(1, 2, 6), torch.randn(1, 2, 6), torch.randn(1, 3, 6)
    torch.testing.assert_close(attention(f, g, h), h.mean(2, keepdim=True).expand(1, 3, 6))


def test_large_scores_are_finite():
    f = torch.full((1, 1, 2), 200.0)
    assert torch.isfinite(attention(f, f, f)).all()


def test_permuted_positions_permute_the_output(layer):
    x, order = noise(1, 16, 1, 7), torch.randperm(7)
    torch.testing.assert_close(layer(x)[..., order], layer(x[..., order]))


def test_it_begins_as_the_identity_and_gradients_reach_gamma_only():
    torch.manual_seed(0)
    layer = SelfAttention(8, plain)
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(layer(x), x)
    (layer(x) * torch.randn_like(x)).sum().backward()
    reached = {name for name, p in layer.named_parameters() if p.grad.any()}
    assert reached == {"gamma"}


def test_gradients_reach_every_parameter_once_gamma_is_not_0(layer):
    x = noise(2, 16, 3, 3).requires_grad_()
    (layer(x) * noise(2, 16, 3, 3)).sum().backward()
    assert all(p.grad.abs().max() > 1e-6 for p in layer.parameters())
    assert torch.autograd.gradcheck(layer, noise(1, 16, 2, 2).requires_grad_())
    assert torch.autograd.gradgradcheck(layer, noise(1, 16, 2, 1).requires_grad_())


# Place in a network

NETWORKS = {
    "dcgan": {"generator": {"use": "dcgan", "width": 4}, "discriminator": {"use": "dcgan", "width": 4}},
    "sngan": {"generator": {"use": "sngan", "width": 4}, "discriminator": {"use": "sngan", "width": 4}},
}
AT_32 = {"data": {"resolution": 32, "kinds": ["circle", "ring"]}}


def with_attention(networks="dcgan", change=None, **config):
    return {**AT_32, **NETWORKS[networks], **(change or {}), "tricks": {"self_attention": config}}


def attended(network):
    return {name: m for name, m in network.named_modules() if isinstance(m, AttendedLayer)}


@pytest.mark.parametrize(
    ("networks", "side", "G", "D"),
    [
        ("sngan", 16, ("body.1", 4, 16), ("body.0", 4, 16)),
        ("sngan", 8, ("body.0", 4, 8), ("body.1", 4, 8)),
        ("sngan", 32, ("body.2", 4, 32), ("body.0", 4, 16)),
        ("sngan", 4, ("from_z", 4, 4), ("body.1", 4, 8)),
        ("dcgan", 16, ("body.2", 4, 16), ("body.0", 4, 16)),
        ("dcgan", 8, ("body.1", 8, 8), ("body.1", 8, 8)),
        ("dcgan", 64, ("body.2", 4, 16), ("body.0", 4, 16)),
    ],
)
def test_place_by_size(assembled, networks, side, G, D):
    run = assembled(with_attention(networks, side=side))
    for network, (name, channels, size) in ((run.generator, G), (run.discriminator, D)):
        ((place, module),) = attended(network).items()
        assert (place, module.attention.v.out_channels) == (name, channels)
        sizes = []
        module.register_forward_hook(lambda m, x, y, sizes=sizes: sizes.append(tuple(y.shape[2:])))
        inputs = torch.randn(2, run.spec.latent_size) if network is run.generator else torch.randn(2, 3, 32, 32)
        network(inputs, None)
        assert sizes == [(size, size)]


def test_nearest_takes_the_outermost_and_first_module_of_the_nearest_size():
    maps = [
        FeatureMap("a.0", 2, (4, 8)),
        FeatureMap("b.0", 3, (8, 16)),
        FeatureMap("b.1", 3, (8, 16)),
        FeatureMap("b", 3, (8, 16)),
        FeatureMap("c", 5, (8, 16)),
        FeatureMap("d", 6, (32, 64)),
    ]
    assert nearest(maps, 9).module == "b"
    assert nearest(maps, 5).module == "a.0"
    # The ratio of 16 to 8 and that of 32 to 16 are equal.
    assert nearest(maps, 16).module == "d"


@pytest.mark.parametrize("players", [["generator"], ["discriminator"]])
def test_one_player_only(assembled, players):
    run = assembled(with_attention(players=players))
    assert [bool(attended(run.networks[player])) for player in ("generator", "discriminator")] == [
        player in players for player in ("generator", "discriminator")
    ]


def test_new_networks_are_those_without_attention(assembled):
    """The factor gamma is 0, and both runs have the same seed, so they draw the same initial weights."""
    ours, other = assembled(with_attention()), assembled({**AT_32, **NETWORKS["dcgan"]})
    z, images = torch.randn(2, 100), torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.generator.eval()(z, None), other.generator.eval()(z, None))
    assert torch.equal(ours.discriminator.eval()(images, None).logits, other.discriminator.eval()(images, None).logits)


def test_all_positions_affect_each_other_after_training(start_run):
    """In D at 16x16, the attended feature map at one corner depends on the pixel in the opposite corner."""
    run = train_iterations(start_run(with_attention(side=16)), 3)
    D = run.discriminator.eval()
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    place = D.get_submodule("body.0")
    (gradient,) = torch.autograd.grad(place(images)[0, :, 0, 0].sum(), images)
    assert gradient[0, :, -1, -1].abs().sum() > 0
    (gradient,) = torch.autograd.grad(place.layer(images)[0, :, 0, 0].sum(), images)
    assert gradient[0, :, -1, -1].abs().sum() == 0


@pytest.mark.parametrize(
    ("norms", "normalized"),
    [(("spectral_norm", "spectral_norm"), (True, True)), (("batch_norm", "layer_norm"), (False, False))],
)
def test_spectral_norm_acts_on_its_weights_and_other_normalisations_do_not(start_run, norms, normalized):
    players = ("generator", "discriminator")
    change = {"normalization": {p: {"use": norm} for p, norm in zip(players, norms, strict=True)}}
    run = train_iterations(start_run(with_attention(change=change)), 1)
    for player, expected in zip(players, normalized, strict=True):
        ((_, module),) = attended(run.networks[player]).items()
        layers = [module.attention.get_submodule(name) for name in "fghv"]
        assert all(isinstance(layer, nn.Conv2d) for layer in layers)
        assert [parametrize.is_parametrized(layer, "weight") for layer in layers] == [expected] * 4
        if expected:
            run.networks[player].eval()
            assert torch.linalg.svdvals(layers[0].weight[:, :, 0, 0])[0].item() == pytest.approx(1, rel=0.05)


def test_feature_maps_do_not_include_images_and_weights(start_run):
    change = {"normalization": {player: {"use": "spectral_norm"} for player in ("generator", "discriminator")}}
    run = start_run({**AT_32, **NETWORKS["dcgan"], **change})
    for player in ("generator", "discriminator"):
        before = {name: value.clone() for name, value in run.networks[player].state_dict().items()}
        maps = feature_maps(run.networks[player], player, run.spec, run)
        assert {one.size for one in maps} == {(4, 4), (8, 8), (16, 16)}
        assert run.networks[player].training
        assert all(torch.equal(value, before[name]) for name, value in run.networks[player].state_dict().items())
        assert not any(module._forward_hooks for module in run.networks[player].modules())


def test_copy_is_whole_and_apart(start_run):
    G = train_iterations(start_run(with_attention()), 2).generator.eval()
    copied, z = copy.deepcopy(G), torch.randn(2, 100)
    assert torch.equal(copied(z, None), G(z, None))
    ((_, module),) = attended(copied).items()
    module.attention.gamma.data.add_(1)
    assert not torch.equal(copied(z, None), G(z, None))


@pytest.mark.parametrize("norm", ["batch_norm", "spectral_norm", "conditional_batch_norm"])
@pytest.mark.parametrize("networks", NETWORKS)
def test_generator_file_has_the_attention(start_run, tmp_path, networks, norm):
    change = {"normalization": {"generator": {"use": norm}}}
    run = train_iterations(start_run(with_attention(networks, change)), 2)
    save_generator(run, tmp_path / "generator.safetensors")
    loaded = Sampler.load(tmp_path / "generator.safetensors")
    assert torch.equal(Sampler.of_run(run).sample(4, seed=1)[0], loaded.sample(4, seed=1)[0])
    names = [n for n, _ in run.generator.named_parameters() if "attention" in n]
    assert len(names) == 5


def test_plugin():
    """The tiny networks have feature maps too; these are convolutional networks of several sizes."""
    change = NETWORKS["dcgan"] | {"normalization": {"discriminator": {"use": "spectral_norm"}}}
    check_plugin(SelfAttentionTrick, {"side": 4}, change, classes=(0,))


@pytest.mark.parametrize("other", ["gradient_penalty", "unrolled_discriminator", "moving_average", "packing", "skip_z"])
def test_with_other_tricks(other):
    for order in (["self_attention", other], [other, "self_attention"]):
        train_iterations(tiny_run({}, NETWORKS["sngan"] | {"tricks": {name: {} for name in order}}), 1)


def test_resumes_exactly_with_classes_and_spectral_norm():
    change = NETWORKS["sngan"] | {
        "data": {"classes": 2},
        "normalization": {"generator": {"use": "conditional_batch_norm"}, "discriminator": {"use": "spectral_norm"}},
        "tricks": {"self_attention": {"side": 4}, "projection": {}, "spectral_weights": {}},
    }
    check_resume({}, change, before=2, after=2)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_with_virtual_batch_norm_both_batches_pass_through_the_attention(start_run, player):
    change = {"normalization": {player: {"use": "virtual_batch_norm", "size": 4}}}
    run = start_run(with_attention("sngan", change, players=[player]))
    ((_, module),) = attended(run.networks[player]).items()
    sizes = []
    module.register_forward_hook(lambda m, x, y: sizes.append(len(y)))
    inputs = torch.randn(2, 100) if player == "generator" else torch.randn(2, 3, 32, 32)
    run.networks[player](inputs, None)
    assert sizes == [4, 2]
    train_iterations(run, 2)


def test_networks_without_feature_maps_are_refused(assembled):
    change = {"generator": {"use": "mlp", "hidden": [4]}, "tricks": {"self_attention": {}}}
    with pytest.raises(InputError, match="FullyConnectedGenerator has no layers that return feature maps"):
        assembled(change)


def test_networks_per_class_are_refused(assembled):
    with pytest.raises(InputError, match=r"tricks\.self_attention: igan_vn has a network for each class"):
        assembled({"tricks": {"self_attention": {}}}, "igan_vn")
    with pytest.raises(InputError, match=r"igan_per_class has a network for each class"):
        assembled({"tricks": {"self_attention": {"players": ["discriminator"]}}}, "igan_vn")
