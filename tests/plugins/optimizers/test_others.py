"""RMSProp, SGD and AdamW by a naive loop."""

import pytest
import torch
from pydantic import ValidationError

from gankit_plugins.optimizers.adamw import AdamW
from gankit_plugins.optimizers.rmsprop import RMSProp
from gankit_plugins.optimizers.sgd import SGD

GRADIENTS = [0.5, -2.0, 0.1]


def stepped(plugin, **settings):
    p = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = plugin(plugin.Config(**settings)).build_optimizer(parameters=[p])
    for g in GRADIENTS:
        p.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    return p.item()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rmsprop(decay):
    w, v = 1.0, 0.0
    for g in GRADIENTS:
        g = g + decay * w
        v = 0.9 * v + 0.1 * g * g
        w -= 0.01 * g / (v**0.5 + 1e-8)
    assert stepped(RMSProp, lr=0.01, alpha=0.9, weight_decay=decay) == pytest.approx(w)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(momentum, nesterov):
    w, b = 1.0, None
    for g in GRADIENTS:
        b = g if b is None else momentum * b + g
        w -= 0.1 * (g + momentum * b if nesterov else b)
    assert stepped(SGD, lr=0.1, momentum=momentum, nesterov=nesterov) == pytest.approx(w)


def test_adamw():
    w, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        w *= 1 - 0.01 * 0.2
        m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g * g
        w -= 0.01 * (m / (1 - 0.5**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    assert stepped(AdamW, lr=0.01, weight_decay=0.2) == pytest.approx(w)


def test_settings_out_of_bounds_are_refused():
    for plugin, settings in [(RMSProp, {"alpha": 1.0}), (SGD, {"nesterov": True}), (AdamW, {"lr": 0.0})]:
        with pytest.raises(ValidationError):
            plugin.Config(**settings)


@pytest.mark.parametrize(
    "table",
    [{"use": "rmsprop", "momentum": 0.5}, {"use": "sgd", "momentum": 0.9}, {"use": "adamw"}],
    ids=lambda table: table["use"],
)
@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_in_a_run(in_a_run, table, base):
    in_a_run({"optimizer": {"generator": table, "discriminator": table}}, base=base)
