"""Trick: training monitor."""

import math
from types import SimpleNamespace

import pytest
import torch

from gankit import GankitError
from gankit.recipe.toml import merge
from gankit.testing import train_iterations
from gankit_plugins.trick.training_monitor import WINDOW, TrainingMonitor, oscillates, pairwise_distance

TIME = torch.arange(WINDOW, dtype=torch.float64)


@pytest.mark.parametrize("period", [2, 4, 6, 10])
def test_oscillation_of_any_period_within_the_window_is_detected(period):
    assert oscillates(1 + torch.cos(2 * math.pi * TIME / period))


@pytest.mark.parametrize(
    "values",
    [
        torch.ones(WINDOW),
        1 + 0.01 * torch.cos(math.pi * TIME),
        torch.linspace(2, 1, WINDOW),
        0.7 + torch.exp(-TIME / 3),
    ],
    ids=["still", "tiny", "falling", "settling"],
)
def test_constant_or_falling_values_do_not_oscillate(values):
    assert not oscillates(values)


def test_noise_is_rarely_an_oscillation():
    randomness = torch.Generator().manual_seed(0)
    seen = sum(oscillates(1 + torch.randn(WINDOW, generator=randomness, dtype=torch.float64)) for _ in range(200))
    assert seen < 10


def test_mean_distance_equals_a_naive_loop():
    x = torch.randn(4, 1, 2, 2)
    pairs = [(x[i] - x[j]).norm().item() for i in range(4) for j in range(i)]
    assert pairwise_distance(x).item() == pytest.approx(sum(pairs) / 6, rel=1e-5)


@pytest.fixture
def warnings(start_run):
    """Function from a change of the recipe to the warnings of its run, with the error that ends it, if any."""

    def make(change, iterations=6, **settings):
        run = start_run(merge({"tricks": {"training_monitor": {"every": 1, **settings}}}, change))
        messages = []
        run.warn = messages.append
        try:
            train_iterations(run, iterations)
        except GankitError as error:
            messages.append(str(error))
        return messages

    return make


def test_usual_start_causes_no_warning(warnings):
    assert warnings({}) == []


def test_non_finite_loss_causes_a_warning(warnings):
    huge = {"optimizer": {p: {"use": "sgd", "lr": 1e30} for p in ("generator", "discriminator")}}
    messages = warnings(huge)
    assert "is not finite" in messages[0]
    assert "gradient_norm_clipping" in messages[0]
    assert "is nan" in messages[-1] or "no longer finite" in messages[-1]


def test_winning_discriminator_causes_a_warning_that_is_repeated_later(warnings):
    messages = warnings({}, iterations=7, loss_threshold=1000.0, repeat_after=3)
    assert len(messages) == 3
    assert all(s.startswith("D's loss is nearly 0") and "instance_noise" in s for s in messages)


COLLAPSED = """
import torch
from torch import nn

class Same(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Parameter(torch.zeros(3, 8, 8))

    def forward(self, z):
        return self.image.tanh().expand(len(z), 3, 8, 8) + 0 * z.sum()
"""


def test_collapsed_generator_causes_a_warning(warnings, tmp_path):
    (tmp_path / "same.py").write_text(COLLAPSED)
    messages = warnings({"generator": {"use": f"{tmp_path}/same.py:Same"}})
    assert any(s.startswith("the distance between generated images is 0%") for s in messages)
    assert any("minibatch_discrimination" in s for s in messages)


def test_oscillation_causes_a_warning():
    plugin = TrainingMonitor(TrainingMonitor.Config(every=1))
    messages = []
    run = SimpleNamespace(iteration=0, warn=messages.append, values={})
    for t in range(WINDOW):
        run.iteration = t + 1
        value = torch.tensor(1 + math.cos(math.pi * t / 3))
        run.values = {"discriminator": {"a": value}, "generator": {"b": torch.tensor(1.0)}}
        plugin.after_iteration(run=run)
    assert messages == [s for s in messages if s.startswith("the discriminator's loss oscillates")]
    assert len(messages) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss": {"use": "least_squares"}}, "with the loss 'least_squares' D's outputs are not logits"),
        ({"tricks": {"relativistic": {}}}, "with relativistic D's outputs are not logits"),
    ],
)
def test_loss_without_probability_causes_a_warning(assembled, change, reason):
    monitored = {"tricks": {"training_monitor": {"every": 1}}}
    assert assembled(monitored).warnings == []
    (sentence,) = assembled(merge(monitored, change)).warnings
    assert reason in sentence
