"""Optimiser: adamw."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gankit_plugins.optimizer.adam import Adam
from gankit_plugins.optimizer.adamw import AdamW

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def build(parameters, **settings):
    return AdamW(AdamW.Config(**settings)).build_optimizer(parameters)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_equal_the_algorithm_of_loshchilov(device, weight_decay):
    """Algorithm 2 of Loshchilov 2017, written out for one number at a time."""
    lr, b1, b2, eps = 0.01, 0.5, 0.9, 1e-6
    gradients = [[1.0, -2.0, 0.5], [0.3, 0.1, -4.0], [-1.0, 0.0, 2.0]]
    theta = [0.5, -1.0, 2.0]
    weight = nn.Parameter(torch.tensor(theta, dtype=torch.float64, device=device))
    optimizer = build([weight], lr=lr, betas=[b1, b2], eps=eps, weight_decay=weight_decay)
    m, v = [0.0] * 3, [0.0] * 3
    for t, gradient in enumerate(gradients, start=1):
        weight.grad = torch.tensor(gradient, dtype=torch.float64, device=device)
        optimizer.step()
        for i in range(3):
            m[i] = b1 * m[i] + (1 - b1) * gradient[i]
            v[i] = b2 * v[i] + (1 - b2) * gradient[i] ** 2
            direction = (m[i] / (1 - b1**t)) / ((v[i] / (1 - b2**t)) ** 0.5 + eps)
            theta[i] -= lr * (direction + weight_decay * theta[i])
        assert weight.tolist() == pytest.approx(theta, rel=1e-9)


def test_decay_is_independent_of_the_gradient():
    """Without a gradient a weight shrinks by lr times the decay; Adam's own decay would move it by lr."""
    lr, decay = 0.01, 0.1
    apart, within = (nn.Parameter(torch.tensor([4.0], dtype=torch.float64)) for _ in range(2))
    for weight, optimizer in (
        (apart, build([apart], lr=lr, weight_decay=decay)),
        (within, Adam(Adam.Config(lr=lr, weight_decay=decay)).build_optimizer([within])),
    ):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert apart.item() == pytest.approx(4 * (1 - lr * decay), rel=1e-9)
    assert within.item() == pytest.approx(4 - lr, rel=1e-6)


def test_defaults_for_gans():
    group = build([nn.Parameter(torch.zeros(2))]).param_groups[0]
    assert (group["lr"], tuple(group["betas"]), group["weight_decay"]) == (2e-4, (0.5, 0.999), 0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_fused_kernel_is_used_where_available(device):
    assert build([nn.Parameter(torch.zeros(2, device=device))]).param_groups[0]["fused"] is True


def test_torch_chooses_the_implementation_on_other_devices():
    assert build([nn.Parameter(torch.zeros(2, device="meta"))]).param_groups[0]["fused"] is None


@pytest.mark.parametrize(
    "wrong", [{"lr": 0}, {"betas": [1.0, 0.9]}, {"betas": [0.5]}, {"eps": 0}, {"weight_decay": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        AdamW.Config(**wrong)
