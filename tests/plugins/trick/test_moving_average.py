"""Trick: moving average."""

import math

import pytest
import torch
from safetensors.torch import load_file

from gankit import Recipe
from gankit.training.assembly import assemble
from gankit.training.launch import start
from gankit.training.reporter import Reporter
from gankit_plugins.trick.moving_average import average_into, decay_at

TINY = {
    "train": {"iterations": 6, "batch_size": 4, "device": "cpu"},
    "output": {"log_every": 2, "checkpoint_every": 3, "sample_every": 3, "sample_count": 2},
    "data": {"use": "shapes", "resolution": 8, "count": 12, "kinds": ["circle", "ring"]},
    "generator": {"use": "igan_vn", "channels": 2},
    "discriminator": {"use": "igan_per_class", "width": 2},
    "normalization": {"generator": "batch_norm"},
    "tricks": {"dropout": {"p": 0.2}, "moving_average": {"decay": 0.6}},
}


def play(raw, out):
    return start(Recipe.from_dict(raw), out, Reporter())[0].path


@pytest.mark.parametrize(("t", "decay", "expected"), [(0, 0.99, 0.1), (90, 0.99, 0.91), (10**6, 0.99, 0.99), (3, 0, 0)])
def test_decay_rises_to_its_setting(t, decay, expected):
    assert decay_at(t, decay) == pytest.approx(expected)


def test_before_its_start_the_average_is_g_itself():
    assert [decay_at(t, 0.5, 3) for t in range(5)] == pytest.approx([0, 0, 0, 0.1, 2 / 11])
    average = [torch.ones(2)]
    average_into(average, [torch.full((2,), 5.0)], decay_at(2, 0.5, 3))
    assert average[0].tolist() == [5, 5]


def test_average_has_the_closed_form_of_the_decay():
    """With a constant decay d: d^n x_0 + (1 - d) sum over k of d^(n - k) x_k."""
    d, n = 0.7, 5
    values = torch.randn(n + 1, 3, 2, dtype=torch.float64)
    average = [values[0].clone()]
    for k in range(1, n + 1):
        average_into(average, [values[k]], d)
    expected = d**n * values[0] + (1 - d) * sum(d ** (n - k) * values[k] for k in range(1, n + 1))
    torch.testing.assert_close(average[0], expected)
    assert math.isclose(d**n + (1 - d) * sum(d ** (n - k) for k in range(1, n + 1)), 1)


def test_saved_average_equals_the_average_over_all_steps(tmp_path):
    """Compute the average from a checkpoint after every step, starting with the initial G."""
    raw = TINY | {"output": TINY["output"] | {"checkpoint_every": 1, "keep_checkpoints": 9}}
    run = play(raw, tmp_path / "run")

    expected = assemble(Recipe.from_dict(raw)).generator.state_dict()["to_small.weight"].clone().double()
    for t in range(6):
        d = min(0.6, (1 + t) / (10 + t))
        newest = load_file(run / f"checkpoints/{t + 1:06d}/generator.safetensors")["to_small.weight"]
        expected = d * expected + (1 - d) * newest.double()
    saved = load_file(run / "generator.safetensors")["to_small.weight"]
    torch.testing.assert_close(saved.double(), expected, atol=1e-7, rtol=1e-5)
