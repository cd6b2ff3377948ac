"""Optimiser: sgd."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gankit_plugins.optimizer.sgd import SGD

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def build(parameters, **settings):
    return SGD(SGD.Config(**settings)).build_optimizer(parameters)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_the_equations(device, momentum, nesterov, weight_decay):
    """Check v <- mu v + g and theta <- theta - lr v (Polyak); theta - lr (g + mu v) looks one step ahead (Nesterov)."""
    lr = 0.01
    gradients = [[1.0, -2.0, 0.5], [0.3, 0.1, -4.0], [-1.0, 0.0, 2.0]]
    theta = [0.5, -1.0, 2.0]
    weight = nn.Parameter(torch.tensor(theta, dtype=torch.float64, device=device))
    optimizer = build([weight], lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    v = [0.0] * 3
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64, device=device)
        optimizer.step()
        for i in range(3):
            g = gradient[i] + weight_decay * theta[i]
            v[i] = momentum * v[i] + g
            theta[i] -= lr * (g + momentum * v[i] if nesterov else v[i])
        assert weight.tolist() == pytest.approx(theta, rel=1e-9)


def test_nesterovs_steps_are_those_at_the_point_ahead():
    """Sutskever 2013, equations 3 and 4, whose gradient is taken at theta + mu v, on f(x) = x^2 / 2.

    The optimiser keeps the point ahead: x = theta + mu v.
    """
    lr, mu = 0.1, 0.9
    ahead = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = build([ahead], lr=lr, momentum=mu, nesterov=True)
    theta, v = 1.0, 0.0
    for _ in range(5):
        ahead.grad = ahead.detach().clone()
        optimizer.step()
        v = mu * v - lr * (theta + mu * v)
        theta += v
        assert ahead.item() == pytest.approx(theta + mu * v, rel=1e-9)


def test_defaults_are_the_plain_step():
    group = build([nn.Parameter(torch.zeros(2))]).param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.01, 0.0, False, 0.0)


@pytest.mark.parametrize("device", DEVICES)
def test_fused_kernel_is_used_where_available(device):
    assert build([nn.Parameter(torch.zeros(2, device=device))]).param_groups[0]["fused"] is True


def test_torch_chooses_the_implementation_on_other_devices():
    assert build([nn.Parameter(torch.zeros(2, device="meta"))]).param_groups[0]["fused"] is None


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"momentum": 1}, {"momentum": -0.1}, {"weight_decay": -1}, {"betas": 1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        SGD.Config(**wrong)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        SGD.Config(nesterov=True)
