"""Clipping of D's weights after its step, and of gradients before the optimiser's."""

import pytest
import torch

from gankit.training.update import backward as pass_back
from gankit.training.update import draw_step, train_step
from gankit_plugins.trick.weight_clipping import clip_weights


def test_every_number_is_cut_to_the_interval():
    weights = [torch.tensor([-3.0, -0.2, 0.0, 0.2, 3.0]), torch.tensor([[0.5]])]
    clip_weights(weights, 0.25)
    assert weights[0].tolist() == pytest.approx([-0.25, -0.2, 0, 0.2, 0.25])
    assert weights[1].tolist() == [[0.25]]


def test_only_the_weights_of_d_are_clipped(start_run):
    run = start_run({"tricks": {"weight_clipping": {"c": 0.01}}})
    before = [p.clone() for p in run.parameters["generator"]]
    train_step(run, "discriminator")
    assert max(p.abs().max() for p in run.parameters["discriminator"]) <= 0.01
    assert all(torch.equal(a, b) for a, b in zip(before, run.parameters["generator"], strict=True))


def gradients(run, player):
    torch.manual_seed(3)
    step = draw_step(run, player)
    pass_back(run, step, player, run.terms[player])
    before = [p.grad.clone() for p in run.parameters[player]]
    run.after_backward(run, step, player)
    return before, [p.grad for p in run.parameters[player]]


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("norm", [1e-3, 1e6])
def test_gradient_is_shortened_to_the_norm_in_its_own_direction(start_run, player, norm):
    before, after = gradients(start_run({"tricks": {"gradient_norm_clipping": {"norm": norm}}}), player)
    length = sum(g.double().square().sum() for g in before) ** 0.5
    factor = min(1.0, norm / length.item())
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(b, a * factor, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_each_gradient_is_cut_to_the_interval(start_run, player):
    before, after = gradients(start_run({"tricks": {"gradient_value_clipping": {"value": 1e-3}}}), player)
    assert any((g.abs() > 1e-3).any() for g in before)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(b, torch.minimum(torch.maximum(a, torch.tensor(-1e-3)), torch.tensor(1e-3)))


@pytest.mark.parametrize("trick", ["gradient_norm_clipping", "gradient_value_clipping"])
def test_only_the_configured_players_are_clipped(start_run, trick):
    size = {"gradient_norm_clipping": "norm", "gradient_value_clipping": "value"}[trick]
    run = start_run({"tricks": {trick: {size: 1e-6, "players": ["generator"]}}})
    before, after = gradients(run, "discriminator")
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_clipping_of_normalised_weights_causes_a_warning(assembled):
    change = {"tricks": {"weight_clipping": {}}, "normalization": {"discriminator": "spectral_norm"}}
    assert any("clipping them has no effect on the slope" in s for s in assembled(change).warnings)
