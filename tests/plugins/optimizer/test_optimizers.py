"""Optimisers: their steps, written out for one number at a time, and the implementations that they choose."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.optimizer.adam import Adam
from gankit_plugins.optimizer.adamw import AdamW
from gankit_plugins.optimizer.rmsprop import RMSProp
from gankit_plugins.optimizer.sgd import SGD

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
LR, EPS = 0.01, 1e-6


def build(plugin, parameters, **settings):
    return plugin(plugin.Config(**settings)).build_optimizer(parameters)


def adam(theta, gradients, betas, eps, weight_decay, decoupled=False):
    """Algorithm 1 of Kingma 2014, or with decoupled weight decay algorithm 2 of Loshchilov 2017."""
    (b1, b2), m, v = betas, 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        gradient = g if decoupled else g + weight_decay * theta
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        step = (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps)
        theta -= LR * (step + weight_decay * theta if decoupled else step)
        yield theta


def adamw(theta, gradients, **settings):
    return adam(theta, gradients, **settings, decoupled=True)


def rmsprop(theta, gradients, alpha, eps, momentum, weight_decay):
    """Slide 29 of lecture 6 (Tieleman 2012)."""
    v = step = 0.0
    for g in gradients:
        gradient = g + weight_decay * theta
        v = alpha * v + (1 - alpha) * gradient**2
        step = momentum * step + gradient / (v**0.5 + eps)
        theta -= LR * step
        yield theta


def sgd(theta, gradients, momentum, nesterov, weight_decay):
    """Momentum of Polyak, theta - lr v with v <- mu v + g; Nesterov's step is theta - lr (g + mu v)."""
    v = 0.0
    for g in gradients:
        gradient = g + weight_decay * theta
        v = momentum * v + gradient
        theta -= LR * (gradient + momentum * v if nesterov else v)
        yield theta


ADAM = {"betas": (0.5, 0.9), "eps": EPS}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("plugin", "algorithm", "settings"),
    [
        (Adam, adam, ADAM),
        (AdamW, adamw, ADAM),
        (RMSProp, rmsprop, {"alpha": 0.9, "eps": EPS, "momentum": 0.0}),
        (RMSProp, rmsprop, {"alpha": 0.9, "eps": EPS, "momentum": 0.9}),
        (SGD, sgd, {"momentum": 0.0, "nesterov": False}),
        (SGD, sgd, {"momentum": 0.9, "nesterov": False}),
        (SGD, sgd, {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_steps_equal_the_algorithm(plugin, algorithm, settings, weight_decay, device):
    gradients = [[1.0, -2.0, 0.5], [0.3, 0.1, -4.0], [-1.0, 0.0, 2.0]]
    theta = [0.5, -1.0, 2.0]
    weight = nn.Parameter(torch.tensor(theta, dtype=torch.float64, device=device))
    optimizer = build(plugin, [weight], lr=LR, weight_decay=weight_decay, **settings)
    numbers = zip(theta, zip(*gradients, strict=True), strict=True)
    steps = [algorithm(x, g, weight_decay=weight_decay, **settings) for x, g in numbers]
    for gradient, expected in zip(gradients, zip(*steps, strict=True), strict=True):
        weight.grad = torch.tensor(gradient, dtype=torch.float64, device=device)
        optimizer.step()
        assert weight.tolist() == pytest.approx(expected, rel=1e-9)


SCHEDULE = {"schedule": "linear", "start": 0.9, "end": 0.5, "until": 4}
SCHEDULED = {"betas": [0.5, SCHEDULE]}


@pytest.mark.parametrize(("plugin", "decoupled"), [(Adam, False), (AdamW, True)])
def test_steps_with_a_scheduled_beta_equal_the_algorithm(plugin, decoupled):
    """Give the algorithm another second beta in each step: 0.9, 0.8, 0.7, 0.6, 0.5, 0.5."""
    betas2, gradients = (0.9, 0.8, 0.7, 0.6, 0.5, 0.5), (1.0, -2.0, 0.5, 0.3, -1.0, 4.0)
    weight = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer_plugin = plugin(plugin.Config(lr=LR, eps=EPS, weight_decay=0.1, **SCHEDULED))
    optimizer = optimizer_plugin.build_optimizer([weight])
    theta, m, v = 0.5, 0.0, 0.0
    for t, (g, b2) in enumerate(zip(gradients, betas2, strict=True), start=1):
        optimizer_plugin.before_iteration(SimpleNamespace(iteration=t - 1, recipe=SimpleNamespace(train=None)))
        weight.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
        gradient = g if decoupled else g + 0.1 * theta
        m, v = 0.5 * m + 0.5 * gradient, b2 * v + (1 - b2) * gradient**2
        step = (m / (1 - 0.5**t)) / ((v / (1 - b2**t)) ** 0.5 + EPS)
        theta -= LR * (step + 0.1 * theta if decoupled else step)
        assert weight.item() == pytest.approx(theta, rel=1e-9)


@pytest.mark.parametrize("plugin", [Adam, AdamW])
def test_scheduled_betas_of_both_players_resume_exactly(plugin):
    check_resume({plugin: SCHEDULED}, before=2, after=3)
    changes = {"optimizer": {"discriminator": {"use": plugin.name, "betas": [SCHEDULE, 0.99]}}}
    run = train_iterations(tiny_run({plugin: SCHEDULED}, changes), 3)
    groups = [run.optimizers[player].param_groups[0]["betas"] for player in ("generator", "discriminator")]
    assert groups == [pytest.approx((0.5, 0.7)), pytest.approx((0.7, 0.99))]


@pytest.mark.parametrize("end", [1.0, -0.1])
def test_bounds_of_betas_are_those_of_a_schedule(end):
    with pytest.raises(ValidationError, match="betas"):
        Adam.Config(betas=(0.0, SCHEDULE | {"end": end}))


@pytest.mark.parametrize(
    ("plugin", "defaults"),
    [
        # Radford 2015, section 4.
        (Adam, {"lr": 2e-4, "betas": (0.5, 0.999), "weight_decay": 0.0}),
        (AdamW, {"lr": 2e-4, "betas": (0.5, 0.999), "weight_decay": 0.01}),
        # Arjovsky 2017, algorithm 1.
        (RMSProp, {"lr": 5e-5, "alpha": 0.99, "momentum": 0.0, "weight_decay": 0.0}),
        (SGD, {"lr": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    ],
)
def test_defaults(plugin, defaults):
    group = build(plugin, [nn.Parameter(torch.zeros(2))]).param_groups[0]
    assert {name: group[name] for name in defaults} == defaults


def test_nesterovs_steps_are_those_at_the_point_ahead():
    """Sutskever 2013, equations 3 and 4, whose gradient is taken at theta + mu v, on f(x) = x^2 / 2.

    The optimiser keeps the point ahead: x = theta + mu v.
    """
    lr, mu = 0.1, 0.9
    ahead = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = build(SGD, [ahead], lr=lr, momentum=mu, nesterov=True)
    theta, v = 1.0, 0.0
    for _ in range(5):
        ahead.grad = ahead.detach().clone()
        optimizer.step()
        v = mu * v - lr * (theta + mu * v)
        theta += v
        assert ahead.item() == pytest.approx(theta + mu * v, rel=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("plugin", [Adam, AdamW, SGD])
def test_fused_kernel_is_used_where_available(plugin, device):
    assert build(plugin, [nn.Parameter(torch.zeros(2, device=device))]).param_groups[0]["fused"] is True
    assert build(plugin, [nn.Parameter(torch.zeros(2, device="meta"))]).param_groups[0]["fused"] is None


def test_rmsprop_moves_all_parameters_at_once():
    assert build(RMSProp, [nn.Parameter(torch.zeros(2))]).param_groups[0]["foreach"] is True


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        SGD.Config(nesterov=True)
