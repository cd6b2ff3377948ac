"""Normalisation: spectral norm."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gankit.training.update import train_iteration
from gankit_plugins.layers.spectral import Spectral, power_iteration, singular_value
from gankit_plugins.layers.weights import LAYERS, filters
from gankit_plugins.normalization.spectral_norm import SpectralNorm


def test_power_method_finds_the_largest_singular_value_of_each_matrix():
    W = torch.randn(3, 5, 7, dtype=torch.float64)
    u = torch.randn(3, 5, 1, dtype=torch.float64)
    for _ in range(500):
        u, v = power_iteration(W, u)
    expected = torch.stack([torch.linalg.svdvals(w)[0] for w in W])
    torch.testing.assert_close(singular_value(W, u, v).flatten(), expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(4, 3),
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.ConvTranspose2d(4, 6, 3),
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        nn.Embedding(5, 4),
    ],
    ids=str,
)
def test_every_matrix_has_the_largest_singular_value_1(layer):
    network = SpectralNorm(SpectralNorm.Config(iterations=300)).wrap_network(
        player="discriminator", network=nn.Sequential(layer), run=None
    )
    weight = network[0].weight  # one forward pass of the parametrisation, of 300 iterations
    groups = getattr(layer, "groups", 1)
    for W in filters(layer) if isinstance(layer, LAYERS) else weight.reshape(groups, weight.shape[0] // groups, -1):
        assert torch.linalg.svdvals(W)[0].item() == pytest.approx(1, abs=1e-4)


def test_layers_are_normalised_with_their_network_or_later_by_a_trick():
    plugin = SpectralNorm(SpectralNorm.Config())
    own, added = nn.Linear(4, 3), nn.Embedding(3, 4)
    assert plugin.normalization(layer=own) is own
    assert not is_parametrized(own)
    plugin.wrap_network(player="discriminator", network=nn.Sequential(own), run=None)
    assert plugin.normalization(layer=added) is added
    for layer in (own, added):
        assert len(layer.parametrizations.weight) == 1
    assert torch.linalg.svdvals(added.weight)[0].item() == pytest.approx(1, abs=0.05)


@pytest.fixture
def run(start_run):
    def make(player, base="igan", **change):
        return start_run({"normalization": {player: {"use": "spectral_norm"}}} | change, base)

    return make


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_singular_values_of_d_stay_near_1_in_training_and_g_does_not_change(run, base):
    run = run("discriminator", base)
    for _ in range(5):
        train_iteration(run)
    layers = [m for m in run.discriminator.modules() if isinstance(m, LAYERS)]
    assert any(m is run.discriminator.head for m in layers)
    for layer in layers:
        for W in filters(layer).detach():
            assert torch.linalg.svdvals(W)[0].item() == pytest.approx(1, abs=0.05)
    assert not any(hasattr(m, "parametrizations") for m in run.generator.modules())


def test_gradient_is_that_of_the_quotient():
    """With u and v held fixed, as in the paper's equation 12: finite differences of W / (u^T W v)."""
    layer = nn.Linear(3, 2).double()
    SpectralNorm(SpectralNorm.Config()).wrap_network(player="discriminator", network=layer, run=None)
    layer.eval()
    original = layer.parametrizations.weight.original
    spectral = layer.parametrizations.weight[0]
    with torch.no_grad():
        spectral.u, spectral.v = spectral.u.double(), spectral.v.double()
    out = torch.randn(2, 3, dtype=torch.float64)
    (layer.weight * out).sum().backward()
    h = 1e-6
    for i in range(2):
        for j in range(3):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    original[i, j] += sign * h
                    values.append((layer.weight * out).sum().item())
                    original[i, j] -= sign * h
            assert original.grad[i, j].item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4, abs=1e-8)


def test_evaluation_mode_does_not_update_the_vectors(run):
    D = run("discriminator").discriminator.eval()
    before = copy.deepcopy(D.state_dict())
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(D(images, None)[0], D(images, None)[0])
    assert all(torch.equal(before[k], v) for k, v in D.state_dict().items())


def test_several_passes_before_one_gradient_of_a_gradient():
    """Each pass uses the vectors of its time, although later passes update them."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False).double()
    SpectralNorm(SpectralNorm.Config()).wrap_network(player="discriminator", network=layer, run=None)
    original, spectral = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    spectral.u.copy_(torch.nn.functional.normalize(torch.randn(1, 3, 1, dtype=torch.float64), dim=1))
    images, vectors, outputs = [torch.randn(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)], [], []
    for x in images:
        outputs.append(layer(x))
        vectors.append((spectral.u[0].clone(), spectral.v[0].clone()))
    assert not torch.allclose(vectors[0][0], vectors[1][0])

    def second_gradient(outputs):
        slopes = torch.autograd.grad(sum(y.square().sum() for y in outputs), images, create_graph=True)
        return torch.autograd.grad(sum(s.square().sum() for s in slopes), original)[0]

    by_hand = [x @ (original / (u.T @ original @ v)).T for x, (u, v) in zip(images, vectors, strict=True)]
    torch.testing.assert_close(second_gradient(outputs), second_gradient(by_hand))


def test_singular_values_of_a_moving_average_are_1(run):
    """Averages of vectors whose direction changes are much shorter than 1."""
    run = run("generator", tricks={"moving_average": {"decay": 0.9}}, optimizer={"generator": {"lr": 0.01}})
    for _ in range(30):
        train_iteration(run)
    average = run.sampled_generator().eval()
    spectral = [m for m in average.modules() if isinstance(m, Spectral)]
    assert min(m.u.norm(dim=1).min().item() for m in spectral) < 0.9
    for layer in (m for m in average.modules() if isinstance(m, LAYERS)):
        for W in filters(layer).detach():
            assert torch.linalg.svdvals(W)[0].item() == pytest.approx(1, abs=0.1)


def test_identity_before_a_residual_block_is_returned_unchanged():
    plugin = SpectralNorm(SpectralNorm.Config())
    layer = nn.Identity()
    assert plugin.normalization(layer=layer) is layer
    plugin.wrap_network(player="discriminator", network=nn.Linear(2, 2), run=None)
    assert plugin.normalization(layer=layer) is layer
