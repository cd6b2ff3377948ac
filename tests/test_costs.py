"""What an iteration of gankit does beyond its arithmetic: counted, so that it cannot grow unseen."""

import gc

import pytest
from by_hand import BY_HAND
from waits import Waits
from torch.profiler import ProfilerActivity, profile
from workloads import benchmark_run, iteration_of

from gankit.recipe.bundled import bundled_recipes

# fp32: bfloat16 kernels differ from processor to processor, and so do the buffers they ask for.
SMALL = ["train.precision=fp32", "train.batch_size=20", "data.count=40"]

BEYOND_BY_HAND = {
    "dcgan_mnist": {"operations": 23, "allocations": 3},
    "wgan_gp_mnist": {"operations": 83, "allocations": 6},
    "igan_vn_mnist": {"operations": 121, "allocations": 38},
}
"""What an iteration takes more than the loop written by hand, of thousands: mostly what hands batches to numpy, values
kept for the log, and labels that a network without classes does not look at. Fewer is better; more wants a reason."""


def allocations(iteration):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        iteration()
    events = seen.profiler.kineto_results.events()
    return sum(event.name() == "[memory]" and event.nbytes() > 0 for event in events)


@pytest.mark.parametrize("recipe", BEYOND_BY_HAND)
def test_an_iteration_beside_the_loop_written_by_hand(CountedOperations, recipe):
    run = benchmark_run(recipe, SMALL)
    loops = {
        "gankit": iteration_of(run),
        "with 15 tricks": iteration_of(benchmark_run(recipe, SMALL, idle=15)),
        "hand": BY_HAND[recipe](run),
    }
    found = {}
    for name, loop in loops.items():
        loop()
        with CountedOperations() as operations:
            loop()
        found[name] = {"operations": operations.counts.total(), "allocations": allocations(loop)}
    assert found["with 15 tricks"] == found["gankit"]
    assert {what: n - found["hand"][what] for what, n in found["gankit"].items()} == BEYOND_BY_HAND[recipe]


@pytest.mark.parametrize("recipe", sorted(bundled_recipes()))
def test_an_iteration_of_a_recipe_waits_for_nothing(recipe):
    classes = 2 if recipe == "igan_v2_mnist" else 10
    run = benchmark_run(recipe, [*SMALL, f"data.classes={classes}"])
    iteration = iteration_of(run)
    with Waits() as waits:
        iteration()
    # RMSprop copies a number of torch's own, which stays on the CPU.
    assert set(waits.counts) == ({"aten.lift_fresh"} if recipe == "wgan_mnist" else set())


def test_an_iteration_leaves_nothing_to_collect():
    """What holds itself in a circle keeps its tensors until Python looks for it, which is memory nobody asked for."""
    iteration = iteration_of(benchmark_run("wgan_gp_mnist", SMALL, idle=2))
    iteration()
    gc.collect()
    gc.disable()
    try:
        iteration()
        found = gc.collect()
    finally:
        gc.enable()
    assert found == 0
