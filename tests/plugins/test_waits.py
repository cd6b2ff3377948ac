"""Plugins for which the CPU waits for a GPU."""

import cost
import pytest
import torch
from waits import most_of

from gankit.recipe.toml import merge
from gankit.training.update import train_iteration

READS = {"aten._local_scalar_dense"}

EXPECTED = {
    "trick balanced_steps": READS,
    # At a check, once in `every` iterations.
    "trick training_monitor": {*READS, "aten.lift_fresh"},
    "trick collapse_guard": READS,
    # Indices of the drawn samples and seeds, on the CPU.
    "trick dp_sgd": {"aten.nonzero", *READS},
    # A number inside torch, on the CPU.
    "optimizer rmsprop": {"aten.lift_fresh"},
}
"""Operations at which the CPU waits. The docstrings of these plugins mention it."""

SMALL = {
    "train": {"batch_size": 8},
    "data": {"count": 32, "resolution": 12},
    "generator": {"channels": 2},
    "discriminator": {"width": 2},
}
CHECKING = ("training_monitor", "collapse_guard")


@pytest.mark.parametrize("name", cost.changes())
def test_only_documented_plugins_wait(name):
    change = cost.changes()[name]
    for trick in CHECKING:
        if name == f"trick {trick}":
            change = {"tricks": {trick: {"every": 2}}}
    run = cost.assembled(merge(merge(cost.PLAIN, SMALL), change))

    def iteration():
        train_iteration(run)
        run.after_iteration(run)

    for _ in range(3):
        iteration()
    operations = most_of(iteration, torch.device("cpu"), 2)
    assert set(operations) == EXPECTED.get(name, set())
