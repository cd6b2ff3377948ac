"""Optimiser: rmsprop."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gankit_plugins.optimizer.rmsprop import RMSProp

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def build(parameters, **settings):
    return RMSProp(RMSProp.Config(**settings)).build_optimizer(parameters)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_tielemans(device, momentum, weight_decay):
    """Slide 29 of lecture 6, written out for one number at a time."""
    lr, alpha, eps = 0.01, 0.9, 1e-6
    gradients = [[1.0, -2.0, 0.5], [0.3, 0.1, -4.0], [-1.0, 0.0, 2.0]]
    theta = [0.5, -1.0, 2.0]
    weight = nn.Parameter(torch.tensor(theta, dtype=torch.float64, device=device))
    optimizer = build([weight], lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=weight_decay)
    v, step = [0.0] * 3, [0.0] * 3
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64, device=device)
        optimizer.step()
        for i in range(3):
            g = gradient[i] + weight_decay * theta[i]
            v[i] = alpha * v[i] + (1 - alpha) * g * g
            step[i] = momentum * step[i] + g / (v[i] ** 0.5 + eps)
            theta[i] -= lr * step[i]
        assert weight.tolist() == pytest.approx(theta, rel=1e-9)


def test_defaults_are_those_of_the_wasserstein_gan():
    group = build([nn.Parameter(torch.zeros(2))]).param_groups[0]
    assert (group["lr"], group["alpha"], group["momentum"], group["weight_decay"]) == (5e-5, 0.99, 0.0, 0.0)


def test_all_parameters_are_moved_at_once():
    assert build([nn.Parameter(torch.zeros(2))]).param_groups[0]["foreach"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"alpha": 1},
        {"alpha": -0.1},
        {"eps": 0},
        {"momentum": 1},
        {"weight_decay": -1},
        {"betas": [0.5, 0.9]},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        RMSProp.Config(**wrong)
