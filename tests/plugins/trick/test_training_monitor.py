import math
from types import SimpleNamespace

import pytest
import torch

from gankit import GankitError, Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.launch import start
from gankit_plugins.trick.training_monitor import WINDOW, TrainingMonitor, oscillates, pairwise_distance

TIME = torch.arange(WINDOW, dtype=torch.float64)


@pytest.mark.parametrize("period", [2, 4, 6, 10])
def test_a_swing_of_any_period_within_the_window_is_seen(period):
    assert oscillates(1 + torch.cos(2 * math.pi * TIME / period))


@pytest.mark.parametrize(
    "values",
    [
        torch.ones(WINDOW),
        1 + 0.01 * torch.cos(math.pi * TIME),
        torch.linspace(2, 1, WINDOW),
        0.7 + torch.exp(-TIME / 3),
    ],
    ids=["still", "a trifle", "falling", "settling"],
)
def test_what_stands_still_or_falls_is_no_swing(values):
    assert not oscillates(values)


def test_noise_hardly_ever_looks_like_a_swing():
    randomness = torch.Generator().manual_seed(0)
    seen = sum(oscillates(1 + torch.randn(WINDOW, generator=randomness, dtype=torch.float64)) for _ in range(200))
    assert seen < 10


def test_the_mean_distance_by_a_naive_loop():
    x = torch.randn(4, 1, 2, 2)
    pairs = [(x[i] - x[j]).norm().item() for i in range(4) for j in range(i)]
    assert pairwise_distance(x).item() == pytest.approx(sum(pairs) / 6, rel=1e-5)


class Told:
    def __init__(self):
        self.advice = []

    def evaluated(self, iteration, metrics, seconds=0.0): ...

    def warned(self, sentence):
        self.advice.append(sentence)

    def __getattr__(self, name):
        return lambda *arguments: None


@pytest.fixture
def advice(plain_recipe, tmp_path):
    """A function from a change to what the training_monitor says in a run of it."""

    def make(change, iterations=6, **settings):
        raw = merge(plain_recipe("igan"), {"tricks": {"training_monitor": {"every": 1, **settings}}})
        raw = merge(merge(raw, {"train": {"iterations": iterations}}), change)
        told = Told()
        try:
            start(Recipe.from_dict(raw), tmp_path / "run", told, lambda sentence: None)
        except GankitError as error:
            told.advice.append(str(error))
        return told.advice

    return make


def test_a_usual_start_needs_no_advice(advice):
    assert advice({}) == []


def test_a_run_that_breaks_down_is_explained_before_it_ends(advice):
    huge = {"optimizer": {p: {"use": "sgd", "lr": 1e30} for p in ("generator", "discriminator")}}
    said = advice(huge)
    assert "no longer a finite number" in said[0]
    assert "gradient_norm_clipping" in said[0]
    assert "is nan" in said[-1] or "no longer finite" in said[-1]


def test_a_d_that_wins_is_told_of_once_and_again_only_after_a_while(advice):
    said = advice({}, iterations=7, sure=1000.0, quiet=3)
    assert len(said) == 3
    assert all(s.startswith("D's loss is nearly 0") and "instance_noise" in s for s in said)


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


def test_a_collapsed_generator_is_told_of(advice, tmp_path):
    (tmp_path / "same.py").write_text(COLLAPSED)
    said = advice({"generator": {"use": f"{tmp_path}/same.py:Same"}})
    assert any(s.startswith("generated images differ 0% as much") for s in said)
    assert any("minibatch_discrimination" in s for s in said)


def test_swings_are_told_of():
    plugin = TrainingMonitor(TrainingMonitor.Config(every=1))
    said = []
    run = SimpleNamespace(iteration=0, advise=said.append, values={})
    for t in range(WINDOW):
        run.iteration = t + 1
        value = torch.tensor(1 + math.cos(math.pi * t / 3))
        run.values = {"discriminator": {"a": value}, "generator": {"b": torch.tensor(1.0)}}
        plugin.after_iteration(run=run)
    assert said == [s for s in said if s.startswith("the discriminator's loss swings to and fro")]
    assert len(said) == 1


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_in_a_run_it_changes_nothing(in_a_run, base):
    in_a_run({"tricks": {"training_monitor": {"every": 1}}}, base=base, changes=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss": {"use": "least_squares"}}, "with the loss 'least_squares' D's answers are no logits"),
        ({"tricks": {"relativistic": {}}}, "with relativistic D's answers are no logits"),
    ],
)
def test_it_says_when_it_cannot_tell_that_d_has_won(plain_recipe, change, reason):
    raw = merge(plain_recipe("igan"), {"tricks": {"training_monitor": {"every": 1}}})
    assert assemble(Recipe.from_dict(raw)).advice == []
    (sentence,) = assemble(Recipe.from_dict(merge(raw, change))).advice
    assert reason in sentence
