"""Which parts make the CPU wait for a GPU in the iterations that they act in."""

import cost
import pytest
import torch
from waits import most_of

from gankit.recipe.toml import merge
from gankit.training.update import train_iteration

READS = {"aten._local_scalar_dense"}

EXPECTED = {
    "trick balanced_steps": READS,
    # At a look, of which there is one in `every` iterations.
    "trick training_monitor": {*READS, "aten.lift_fresh"},
    "trick collapse_guard": READS,
    # A number of torch's own, which stays on the CPU.
    "optimizer rmsprop": {"aten.lift_fresh"},
}
"""What the host waits at; each says so in its documentation."""

LITTLE = {
    "train": {"batch_size": 8},
    "data": {"count": 32, "resolution": 12},
    "generator": {"channels": 2},
    "discriminator": {"width": 2},
}
LOOKS_EACH_TIME = ("training_monitor", "collapse_guard")


@pytest.mark.parametrize("name", cost.changes())
def test_only_those_wait_that_say_so(name):
    change = cost.changes()[name]
    for trick in LOOKS_EACH_TIME:
        if name == f"trick {trick}":
            change = {"tricks": {trick: {"every": 2}}}
    run = cost.assembled(merge(merge(cost.PLAIN, LITTLE), change))

    def iteration():
        train_iteration(run)
        run.after_iteration(run)

    for _ in range(3):
        iteration()
    found = most_of(iteration, torch.device("cpu"), 2)
    assert set(found) == EXPECTED.get(name, set())
