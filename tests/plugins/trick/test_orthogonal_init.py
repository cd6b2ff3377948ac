"""Trick: orthogonal init."""

import pytest
import torch
from torch import nn

from gankit_plugins.trick.orthogonal_init import make_orthogonal

LAYERS = [
    nn.Linear(3, 5),
    nn.Linear(5, 3),
    nn.Conv2d(2, 4, 3),
    nn.Conv2d(4, 6, 3, groups=2),
    nn.ConvTranspose2d(4, 2, 3),
    nn.ConvTranspose2d(4, 6, 2, groups=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_rows_or_columns_are_orthonormal_times_the_gain_in_each_group(layer, gain):
    make_orthogonal(layer, gain)
    for W in layer.weight.detach().chunk(getattr(layer, "groups", 1)):
        W = W.flatten(1).double()
        small = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
        torch.testing.assert_close(small, gain**2 * torch.eye(len(small), dtype=torch.float64), atol=1e-6, rtol=0)


def test_groups_have_different_weights():
    layer = nn.Conv2d(4, 4, 3, groups=2)
    make_orthogonal(layer, 1.0)
    assert not torch.equal(*layer.weight.chunk(2))


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_only_weights_of_the_configured_players_are_initialised(assembled, player):
    plain = assembled({}).networks
    changed = assembled({"tricks": {"orthogonal_init": {"players": [player]}}}).networks
    for name in ("generator", "discriminator"):
        for (key, before), after in zip(plain[name].named_parameters(), changed[name].parameters(), strict=True):
            same = torch.equal(before, after)
            assert same is not (name == player and before.dim() > 1), key


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_under_spectral_norm_too_and_the_singular_value_is_1_at_once(assembled, base):
    change = {"normalization": {"discriminator": "spectral_norm"}, "tricks": {"orthogonal_init": {"gain": 3.0}}}
    D = assembled(change, base).discriminator.eval()
    for layer in (m for m in D.modules() if isinstance(m, nn.Conv2d)):
        for original, W in zip(
            layer.parametrizations.weight.original.detach().chunk(layer.groups),
            layer.weight.detach().chunk(layer.groups),
            strict=True,
        ):
            assert torch.linalg.svdvals(original.flatten(1)).allclose(torch.tensor(3.0), atol=1e-4)
            assert torch.linalg.svdvals(W.flatten(1))[0].item() == pytest.approx(1, abs=1e-4)
