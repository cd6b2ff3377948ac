"""Trick: moving average."""

import math

import pytest
import torch

from gankit import InputError
from gankit.testing import train_iterations
from gankit_plugins.trick.moving_average import average_into, averaged_and_copied, decay_at, half_life_decay


@pytest.mark.parametrize(("t", "decay", "expected"), [(0, 0.99, 0.1), (90, 0.99, 0.91), (10**6, 0.99, 0.99), (3, 0, 0)])
def test_decay_rises_to_its_setting(t, decay, expected):
    assert decay_at(t, decay) == pytest.approx(expected)


def test_before_its_start_the_average_is_g_itself():
    assert [decay_at(t, 0.5, 3) for t in range(5)] == pytest.approx([0, 0, 0, 0.1, 2 / 11])
    average = [torch.ones(2)]
    average_into(average, [torch.full((2,), 5.0)], decay_at(2, 0.5, 3))
    assert average[0].tolist() == [5, 5]


def test_decay_of_a_half_life():
    """After as many images as the half-life, the old average counts half, for every batch size."""
    for batch in (1, 10, 500, 1000):
        assert half_life_decay(batch, 1000) ** (1000 / batch) == pytest.approx(0.5)
    assert half_life_decay(64, 0) == 0


def test_half_life_by_a_schedule_from_zero(start_run):
    """Batches of 4 images and a half-life of 0, 4, 8 and then 8 images: decays of 0, 1/2, and twice the root of 1/2."""
    half_life = {"schedule": "linear", "start": 0.0, "end": 8.0, "until": 2}
    run = start_run({"tricks": {"moving_average": {"half_life": half_life}}}, "igan_vn")
    weight = run.generator.to_small.weight.detach()
    expected = weight.double()
    for d in (0, 0.5, 0.5**0.5, 0.5**0.5):
        train_iterations(run)
        expected = d * expected + (1 - d) * weight.double()
    average = run.sampled_generator().to_small.weight.detach()
    torch.testing.assert_close(average.double(), expected, atol=1e-7, rtol=1e-5)


def test_half_life_starts_after_the_start(start_run):
    run = start_run({"tricks": {"moving_average": {"half_life": 100.0, "start": 2}}}, "igan_vn")
    plugin = run.plugins["tricks.moving_average"]
    decays = []
    for _ in range(3):
        decays.append(plugin._decay(run))
        train_iterations(run)
    assert decays == [0, 0, pytest.approx(0.5**0.04)]


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


def test_sampled_generator_is_the_average_over_all_steps(start_run):
    """The average starts with the initial G."""
    run = start_run({"tricks": {"moving_average": {"decay": 0.6}}}, "igan_vn")
    weight = run.generator.to_small.weight.detach()
    expected = weight.double()
    for t in range(6):
        train_iterations(run)
        d = min(0.6, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * weight.double()
    average = run.sampled_generator().to_small.weight.detach()
    torch.testing.assert_close(average.double(), expected, atol=1e-7, rtol=1e-5)


class Counting(torch.nn.Module):
    """A network with every kind of tensor: trained and frozen weights, statistics, a counter, a mask and a schedule."""

    def __init__(self):
        super().__init__()
        self.trained = torch.nn.Linear(1, 1)
        self.frozen = torch.nn.Linear(1, 1).requires_grad_(False)
        self.norm = torch.nn.BatchNorm1d(1)
        self.register_buffer("mask", torch.ones(1))
        self.register_buffer("alpha", torch.zeros(()))


def test_only_trained_parameters_and_statistics_are_averaged():
    averaged, copied = averaged_and_copied(Counting())
    assert averaged == [
        *("trained.weight", "trained.bias"),
        *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
    ]
    assert copied == ["mask", "alpha", "frozen.weight", "frozen.bias", "norm.num_batches_tracked"]


def test_shared_weights_are_averaged_once():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    network.first = network[0]
    assert averaged_and_copied(network) == (["0.weight", "0.bias"], [])


def test_it_must_be_the_first_plugin_that_replaces_the_generator(start_run):
    second = {"again": {"use": "moving_average"}}
    with pytest.raises(InputError, match="move moving_average before this plugin in the recipe"):
        start_run({"tricks": {"moving_average": {}} | second}).sampled_generator()


def test_other_tensors_are_copied_when_the_average_is_used(start_run):
    """A fade-in factor that a plugin raises from 0 to 1 must be 1 in the samples, not its average."""
    run = start_run({"tricks": {"moving_average": {"decay": 0.9}}})
    plugin = run.plugins["tricks.moving_average"]
    run.generator.register_buffer("alpha", torch.zeros(()))
    frozen = next(run.generator.parameters()).requires_grad_(False)
    plugin.on_start(run)
    train_iterations(run)
    with torch.no_grad():
        run.generator.alpha.fill_(1.0)
        frozen.fill_(0.25)
    counters = [b for name, b in run.generator.named_buffers() if name.endswith("num_batches_tracked")]
    for average in (run.sampled_generator().state_dict(), plugin.state_dict()):
        at = "average." if "steps" in average else ""
        assert average[f"{at}alpha"] == 1
        assert (average[f"{at}{next(iter(dict(run.generator.named_parameters())))}"] == 0.25).all()
        copied = [value for name, value in average.items() if name.endswith("num_batches_tracked")]
        assert [int(c) for c in copied] == [int(c) for c in counters] != [0] * len(counters)
