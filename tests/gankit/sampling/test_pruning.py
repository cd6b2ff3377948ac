"""Pruning of channels: dependences between channels, sensitivity, multiply-adds, and networks that cannot be pruned."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gankit.errors import InputError
from gankit.sampling.pruning import (
    difference,
    multiply_adds,
    narrowed,
    prunable_groups,
    prune,
    resize,
    without,
)


class Residual(nn.Module):
    """Network with a residual connection, whose layers `first` and `second` share their channels."""

    def __init__(self, mixing=False):
        super().__init__()
        self.first = nn.Linear(4, 6 * 4)
        self.inner = nn.Conv2d(6, 5, 3, padding=1)
        self.norm = nn.GroupNorm(1, 5) if mixing else nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 3, padding=1)
        self.last = nn.ConvTranspose2d(6, 1, 2, 2)

    def forward(self, z):
        h = self.first(z).view(len(z), -1, 2, 2)
        h = h + self.second(F.relu(self.norm(self.inner(h))))
        return self.last(h).tanh()


class Fixed(nn.Module):
    """Network whose code contains the number of its channels."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 3 * 2), nn.Conv1d(3, 1, 1)

    def forward(self, z):
        return self.last(self.first(z).view(-1, 3, 2))


def sequential():
    """Return a network whose batch normalisation has statistics, weights and biases that are not trivial."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.ConvTranspose2d(4, 8, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(8, 6, 3, padding=1, bias=False),
        nn.LeakyReLU(0.2),
        nn.Conv2d(6, 2, 3, padding=1),
    )
    for tensor in (network[1].weight, network[1].bias, network[1].running_mean):
        nn.init.normal_(tensor)
    with torch.no_grad():
        network[1].bias.abs_().add_(1)  # so that no channel is always 0 after the ReLU
    return network.eval()


def inputs(*shape):
    z = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    return lambda network: network(z)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def test_channels_of_consecutive_layers_belong_together():
    groups = prunable_groups(sequential(), inputs(4, 1, 1))
    assert [[dict(unit) for unit in group] for group in groups] == [
        [{("0", "output"): (c,), ("1", "norm"): (c,), ("4", "input"): (c,)} for c in range(8)],
        [{("4", "output"): (c,), ("6", "input"): (c,)} for c in range(6)],
    ]


def test_pruned_network_equals_the_original_with_channels_set_to_zero():
    network, forward = sequential(), inputs(4, 1, 1)
    first, second = prunable_groups(network, forward)
    removed = [first[1], first[6], second[0]]
    smaller = narrowed(network, removed)
    # The same by hand: rows of the weights of the next layer are zero.
    by_hand = sequential()
    by_hand[4].weight[:, [1, 6]] = 0
    by_hand[6].weight[:, [0]] = 0
    assert forward(smaller).allclose(forward(by_hand), atol=1e-6)
    assert not forward(smaller).allclose(forward(network), atol=1e-3)
    assert (smaller[0].out_channels, smaller[1].num_features) == (6, 6)
    assert (smaller[4].in_channels, smaller[4].out_channels, smaller[6].in_channels) == (6, 5, 5)
    with without(network, removed):
        assert forward(network).allclose(forward(smaller), atol=1e-6)
    assert not forward(network).allclose(forward(smaller), atol=1e-3), "the hooks are removed"


def test_layers_of_a_residual_connection_lose_the_same_channels():
    torch.manual_seed(0)
    network, forward = Residual().eval(), inputs(4)
    shared, inner = prunable_groups(network, forward)
    assert (len(shared), len(inner)) == (6, 5)
    assert shared[2] == {
        ("first", "output"): (8, 9, 10, 11),
        ("inner", "input"): (2,),
        ("last", "input"): (2,),
        ("second", "output"): (2,),
    }
    smaller = narrowed(network, [shared[0], shared[4], inner[3]])
    assert difference(network, smaller, [shared[0], shared[4], inner[3]], forward) < 1e-6
    assert [smaller.first.out_features, smaller.second.out_channels, smaller.second.in_channels] == [16, 4, 4]


def test_channels_that_mix_are_not_pruned():
    torch.manual_seed(0)
    network = Residual(mixing=True).eval()
    assert [len(group) for group in prunable_groups(network, inputs(4))] == [6], "only those of the connection"


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(4, 5)),
        nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Linear(5, 3)),
        nn.Sequential(nn.Linear(4, 5), nn.Softmax(1), nn.Linear(5, 3)),
        Fixed(),
    ],
)
def test_network_without_channels_to_remove_is_refused(network):
    with pytest.raises(InputError, match="has no channels that can be removed"):
        prune(network, inputs(4), 0.5, lambda done, whole: None)


def test_channels_with_the_least_effect_are_removed():
    network, forward = sequential(), inputs(4, 1, 1)
    network[4].weight[:, [2, 5]] *= 1e-3
    network[6].weight[:, 3] = 0
    seen = []
    # Without two of 8 and one of 6 channels, the second layer has 6/8 * 5/6 of its multiply-adds.
    pruned = prune(network, forward, 0.3, lambda *numbers: seen.append(numbers))
    assert (pruned.removed, pruned.units) == (3, 14)
    assert seen[-1] == (14, 14)
    assert (forward(pruned.network) - forward(network)).abs().max() < 0.02
    assert pruned.network[4].weight.shape == (5, 6, 3, 3)


def test_multiply_adds_against_a_hand_count():
    network, forward = sequential(), inputs(4, 1, 1)
    counts = multiply_adds(network, forward)
    by_hand = {"0": 4 * 8 * 2 * 2, "4": 8 * 6 * 9 * 16, "6": 6 * 2 * 9 * 16}
    assert {name: counts[name] for name in by_hand} == by_hand
    assert counts[""] == sum(by_hand.values())
    smaller = prune(network, forward, 0.5, lambda done, whole: None).network
    (a, b), c = smaller[4].weight.shape[:2], 2
    assert multiply_adds(smaller, forward)[""] == 4 * b * 4 + 9 * 16 * (a * b + a * c) <= counts[""] / 2
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_at_least_one_channel_stays():
    with pytest.raises(InputError, match=r"only 9[0-9]% of the multiply-adds can be removed"):
        prune(sequential(), inputs(4, 1, 1), 0.999, lambda done, whole: None)
    assert prune(sequential(), inputs(4, 1, 1), 0.9, lambda done, whole: None).network[4].weight.shape[1] >= 1


def test_resize_leaves_other_modules_as_they_are():
    network = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 4))
    resize(network, {"0.weight": torch.zeros(3), "1.weight": torch.zeros(2, 3), "1.bias": torch.zeros(2)})
    assert network[0].weight.shape == (5,)
    assert (network[1].in_features, network[1].out_features) == (3, 2)
