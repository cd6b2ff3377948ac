"""Overhead of an iteration: operations and allocations beyond those of a loop written by hand."""

import gc

import pytest
from by_hand import BY_HAND
from torch.profiler import ProfilerActivity, profile
from waits import Waits
from workloads import benchmark_run, iteration_of, started

from gankit import Recipe
from gankit.recipe.bundled import bundled_recipe, bundled_recipes
from tests.test_by_hand import SMALL_NETWORKS

# fp32, because bfloat16 kernels and their buffers differ from processor to processor.
SMALL = ["train.precision=fp32", "train.batch_size=20", "data.count=40", "data.resolution=8"]

NARROW = {
    "fastgan_paper": ("width=8",),
    "r3gan_paper": ("width=8", "max_width=8"),
    "stylegan_paper": ("channel_base=64", "max_channels=4"),
    "stylegan2_paper": ("channel_base=64", "max_channels=4"),
}
"""Settings of both networks for the recipes whose networks are large even for the smallest images."""

SHAPES = "{ use = 'shapes', resolution = 16, count = 40 }"
TONES = ["data={ use = 'tones', length = 256, count = 40 }"]
CLIPS = ["data={ use = 'moving_shapes', resolution = 8, frames = 4, count = 40 }"]
OTHER_DATA = {
    "ctgan_table": ["data.count=60"],
    "cyclegan_cifar10": [f"data={{ use = 'unpaired', source = {SHAPES}, target = {SHAPES} }}"],
    "image_and_mask_shapes": ["data.images={ use = 'captioned_shapes', resolution = 16, count = 40 }"],
    "own_videos": CLIPS,
    "pix2pix_emoji": [f"data.images={SHAPES}"],
    "pix2pix_mnist_edges": [f"data.images={SHAPES}"],
    "semi_supervised_mnist": ["data.labels=12", f"data.images={SHAPES}"],
    "video_shapes": CLIPS,
    "wavegan_paper": TONES,
    "wavegan_sounds": TONES,
    "wgan_gp_lines": ["data.count=40"],
}
"""Settings of small data for the recipes that cannot train on random images with classes."""

BEYOND_BY_HAND = {
    "dcgan_mnist": {"operations": 23, "allocations": 3},
    "wgan_gp_mnist": {"operations": 83, "allocations": 6},
    "igan_vn_mnist": {"operations": 121, "allocations": 38},
}
"""Additional operations and allocations of an iteration, out of thousands in all.

They come mostly from batches in numpy, values for the log, and labels that a network without classes ignores. A larger
number needs a reason.
"""


def allocations(iteration):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        iteration()
    events = profiler.profiler.kineto_results.events()
    return sum(event.name() == "[memory]" and event.nbytes() > 0 for event in events)


@pytest.mark.parametrize("recipe", BEYOND_BY_HAND)
def test_overhead_of_an_iteration(CountedOperations, recipe):
    settings = [*SMALL, *SMALL_NETWORKS[recipe]]
    run = benchmark_run(recipe, settings)
    loops = {
        "gankit": iteration_of(run),
        "with 15 tricks": iteration_of(benchmark_run(recipe, settings, idle=15)),
        "hand": BY_HAND[recipe](run),
    }
    counts = {}
    for name, loop in loops.items():
        loop()
        with CountedOperations() as operations:
            loop()
        counts[name] = {"operations": operations.counts.total(), "allocations": allocations(loop)}
    assert counts["with 15 tricks"] == counts["gankit"]
    assert {what: n - counts["hand"][what] for what, n in counts["gankit"].items()} == BEYOND_BY_HAND[recipe]


@pytest.mark.parametrize("recipe", sorted(bundled_recipes()))
def test_an_iteration_of_a_recipe_does_not_wait_for_the_device(recipe):
    classes = 2 if recipe == "igan_v2_mnist" else 10
    narrow = [f"{player}.{width}" for player in ("generator", "discriminator") for width in NARROW.get(recipe, ())]
    if recipe in OTHER_DATA:
        settings = [*(setting for setting in SMALL if not setting.startswith("data.")), *OTHER_DATA[recipe]]
        run = started(Recipe.load(bundled_recipe(recipe), settings))
    else:
        run = benchmark_run(recipe, [*SMALL, *narrow, f"data.classes={classes}"])
    iteration = iteration_of(run)
    with Waits() as waits:
        iteration()
    # RMSprop of torch copies a number that stays on the CPU.
    assert set(waits.counts) == ({"aten.lift_fresh"} if recipe == "wgan_mnist" else set())


def test_an_iteration_creates_no_reference_cycles():
    """A reference cycle keeps its tensors in memory until the garbage collector runs."""
    iteration = iteration_of(benchmark_run("wgan_gp_mnist", SMALL, idle=2))
    iteration()
    gc.collect()
    gc.disable()
    try:
        iteration()
        collected = gc.collect()
    finally:
        gc.enable()
    assert collected == 0
