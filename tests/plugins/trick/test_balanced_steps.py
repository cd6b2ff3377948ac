"""Trick: balanced steps."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from gankit.training.update import train_iteration
from gankit_plugins.trick.balanced_steps import BalancedSteps, player_behind
from gankit_plugins.trick.discriminator_confidence import ranking_accuracy


def step(real, fake, real_target=1.0, fake_target=0.0):
    return SimpleNamespace(
        real_output=SimpleNamespace(logits=torch.tensor(real)),
        fake_output=SimpleNamespace(logits=torch.tensor(fake)),
        real_target=real_target,
        fake_target=fake_target,
    )


@pytest.mark.parametrize(
    ("right", "behind"),
    [(0.0, "discriminator"), (0.59, "discriminator"), (0.6, None), (0.9, None), (0.91, "generator")],
)
def test_player_behind(right, behind):
    assert player_behind(right, 0.6, 0.9) == behind


def test_share_of_pairs_in_the_right_order_ties_counted_half():
    assert ranking_accuracy(step([1.0, 2.0, 0.0, 5.0], [0.0, 3.0, 0.0, 4.0])).item() == (1 + 0 + 0.5 + 1) / 4


def test_flipped_labels_flip_the_order():
    flipped = step([1.0, 2.0], [3.0, 4.0], real_target=0.1, fake_target=torch.tensor([0.9, 1.0]))
    assert ranking_accuracy(flipped).item() == 1


RUN = SimpleNamespace(
    ranks=SimpleNamespace(mean=lambda x: x), recipe=SimpleNamespace(train=SimpleNamespace(discriminator_steps=2))
)
"""Run with one rank."""


def test_one_player_is_trained_alone_until_patience_ends():
    plugin = BalancedSteps(BalancedSteps.Config(patience=2))
    assert plugin.step_order(RUN) is None
    plugin.after_d_step(RUN, step([1.0], [0.0]))
    assert [plugin.step_order(RUN) for _ in range(4)] == [["generator"], ["generator"], None, ["generator"]]
    for _ in range(6):
        plugin.after_d_step(RUN, step([0.0], [1.0]))
    assert plugin.step_order(RUN) == ["discriminator"] * 2


def test_running_average_of_the_accuracy():
    plugin = BalancedSteps(BalancedSteps.Config(decay=0.25))
    for pair in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        plugin.after_d_step(RUN, step([pair[0]], [pair[1]]))
    assert plugin.accuracy.item() == pytest.approx(0.25 * (0.25 * 1 + 0.75 * 0) + 0.75 * 0.5)


def test_winning_discriminator_is_trained_less_often(start_run):
    tricks = {"balanced_steps": {"low": 0.0, "high": 0.1, "patience": 3}}
    run = start_run({"tricks": tricks, "optimizer": {"discriminator": {"use": "adam", "lr": 0.05}}})
    for _ in range(9):
        train_iteration(run)
    assert run.step_counts["generator"] == 9
    assert run.step_counts["discriminator"] < 9


def test_low_must_be_below_high():
    with pytest.raises(ValidationError, match=r"low = 0\.9 must be below high = 0\.5"):
        BalancedSteps.Config(low=0.9, high=0.5)
