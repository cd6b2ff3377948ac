"""Cost of the newer systems: gankit's iteration over a hand-written one, and the operations that take the time.

    python benchmarks/systems.py

The loops are those of `systems_by_hand.py`, with the recipes' own networks, on random images. Small networks show the
milliseconds that gankit adds to an iteration, as in `loop.py`. The share of each operation is its part of the CPU time
in torch's profiler.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from by_hand import inputs_of
from loop import TARGET
from systems_by_hand import LOOPS
from timing import Loop, Ratio, Result, command_line, interleaved, machine, table
from torch import Tensor
from torch.nn.functional import conv2d
from torch.profiler import ProfilerActivity, profile
from workloads import benchmark_run, iteration_of

from gankit.training.run import TrainingRun
from gankit_plugins.layers.modulated import ModulatedConv2d, demodulation

COPIES = 2
ROUNDS, SMALL_ROUNDS = 15, 60

CIFAR10 = ["data.resolution=32", "data.channels=3"]
DATA = dict.fromkeys(LOOPS, CIFAR10) | {"fastgan_emoji": ["data.resolution=64", "data.channels=3", "data.classes=0"]}
"""Settings of the random images of each recipe."""

START = {"pggan_cifar10": 3000}
"""Iteration of the training that is timed. PGGAN's networks have their full size then."""

SMALL = ["train.batch_size=20", "train.precision=fp32", "data.resolution=8", "data.channels=3"]
ATTENTION = ("sagan_cifar10", "biggan_cifar10")

MOST = 3
"""Number of operations that are listed."""


def hand_written(recipe: str, run: TrainingRun) -> Loop:
    """Return the hand-written iteration of a recipe, with copies of a run's networks."""
    first = {"t": run.iteration} if recipe in START else {}
    return LOOPS[recipe](*inputs_of(run), **first)


def started_run(recipe: str, settings: list[str]) -> TrainingRun:
    """Return a run of a recipe at the iteration to be timed."""
    run = benchmark_run(recipe, settings)
    run.iteration = START.get(recipe, 0)
    return run


def small(recipe: str) -> list[str]:
    """Return the settings that leave little but the cost of the loops."""
    widths = ("channel_base=64", "max_channels=4") if recipe.startswith("stylegan") else ("width=8",)
    settings = [f"{player}.{width}" for player in ("generator", "discriminator") for width in widths]
    if recipe == "fastgan_emoji":
        settings.append("data.classes=0")
    return [*SMALL, *settings, *(["tricks.self_attention.side=4"] if recipe in ATTENTION else [])]


def measure(quick: bool) -> Result:
    result: Result = {"machine": machine(), "recipes": {}}
    for recipe in list(LOOPS)[: 1 if quick else None]:
        runs = [started_run(recipe, small(recipe) if quick else DATA[recipe]) for _ in range(COPIES)]
        loops: dict[str, Loop] = {}
        for copy, run in enumerate(runs):
            # The hand-written loop copies the networks before gankit changes them.
            loops[f"hand {copy}"] = hand_written(recipe, run)
            loops[f"gankit {copy}"] = iteration_of(run)
        single = interleaved(loops, 2 if quick else ROUNDS)
        rounds = single.summed({name: [f"{name} {copy}" for copy in range(COPIES)] for name in ("gankit", "hand")})
        result["recipes"][recipe] = {
            "rounds": len(rounds.wall["hand"]),
            "batch": runs[0].recipe.train.batch_size,
            "precision": "bf16" if runs[0].bf16 else "fp32",
            "milliseconds": single.milliseconds("hand 0"),
            "ratio": rounds.ratio("gankit", "hand"),
            "control": single.ratio("hand 0", "hand 1"),
            "added": added_milliseconds(recipe, 3 if quick else SMALL_ROUNDS),
            "operations": most_expensive(loops["gankit 0"]),
        }
    result["modulated"] = modulated_forms(quick)
    return result


def added_milliseconds(recipe: str, rounds: int) -> Ratio:
    """Return the milliseconds that gankit adds to an iteration, on one thread."""
    run = started_run(recipe, small(recipe))
    loops = {"hand": hand_written(recipe, run), "gankit": iteration_of(run)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = interleaved(loops, rounds, repeats=2)
    torch.set_num_threads(threads)
    return taken.difference("gankit", "hand")


def grouped(layer: ModulatedConv2d, x: Tensor, w: Tensor) -> Tensor:
    """Return the output of a modulated convolution, computed as one grouped convolution with a group for each image."""
    styles, weight = layer.affine(w), layer.scaled_weight()
    weights = weight * styles[:, None, :, None, None] * demodulation(weight, styles)[:, :, None, None, None]
    y = conv2d(x.flatten(0, 1)[None], weights.flatten(0, 1), padding=weight.shape[2] // 2, groups=len(x))
    return y.view(*x.shape)


def modulated_forms(quick: bool) -> Result:
    """Return the time of a modulated convolution as a grouped one, over the time with scaled maps, by precision.

    Each call has a forward and a backward pass.
    """
    batch, channels, side = (2, 4, 8) if quick else (32, 64, 32)
    layer = ModulatedConv2d(channels, channels, 3, w_size=channels)
    x, w = torch.randn(batch, channels, side, side, requires_grad=True), torch.randn(batch, channels)
    x.data = x.data.contiguous(memory_format=torch.channels_last)
    result: Result = {"batch": batch, "channels": channels, "side": side, "ratios": {}}
    for precision in ("fp32", "bf16"):

        def pass_of(form: Callable[[Tensor, Tensor], Tensor], bf16: bool = precision == "bf16") -> Loop:
            def loop() -> None:
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = form(x, w).float().square().mean()
                loss.backward()

            return loop

        loops = {"scaled": pass_of(layer), "grouped": pass_of(partial(grouped, layer))}
        result["ratios"][precision] = interleaved(loops, 3 if quick else 40).ratio("grouped", "scaled")
    return result


def most_expensive(loop: Loop) -> list[tuple[str, float]]:
    """Return the operations that take most of the CPU time of an iteration, with their share of it."""
    loop()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        loop()
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    events = sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)[:MOST]
    return [(event.key.removeprefix("aten::"), event.self_cpu_time_total / total) for event in events]


def section(found: Result) -> str:
    cells = []
    for recipe, row in found["recipes"].items():
        by_hand = f"{row['milliseconds']:.0f} ms ({row['precision']}, batch of {row['batch']}, {row['rounds']} rounds)"
        added = Ratio(*row["added"])
        share = f"{added} ms, {added.median / row['milliseconds']:.2%}"
        operations = ", ".join(f"{name} {part:.0%}" for name, part in row["operations"])
        cells.append([f"`{recipe}`", by_hand, Ratio(*row["ratio"]), Ratio(*row["control"]), share, operations])
    lines = [
        "## Newer systems",
        "",
        "Time of an iteration of gankit over that of a hand-written loop with the same networks "
        "(`benchmarks/systems_by_hand.py`), which ends with the same weights. The result is the median, over the "
        "rounds, of the ratio within a round, with the quartiles. Each loop has two copies. *control* is one "
        "hand-written copy over the other. *Added* is measured with small networks on one thread, as above: the "
        "milliseconds that gankit adds, and their share of the iteration. The last column has the operations with the "
        "largest shares of the CPU time in torch's profiler. PGGAN is at its full size. "
        f"On {found['machine']}; random images.",
        "",
        *table(("recipe", "by hand", "gankit", "control", "added", "operations"), cells),
    ]
    highest = 1 + max(Ratio(*row["added"]).median / row["milliseconds"] for row in found["recipes"].values())
    form = found["modulated"]
    ratios = " and ".join(f"{Ratio(*ratio)} times as long with {name}" for name, ratio in form["ratios"].items())
    lines += [
        "",
        f"By the time that gankit adds, the highest ratio is {highest:.4f}; the target is {TARGET}. The ratios of the "
        "column *gankit* are valid only if the control is within 0.99 to 1.01.",
        "",
        "StyleGAN2's modulated convolution scales its input and its output by the styles. As one grouped convolution "
        f"with a group for each image, a forward and a backward pass take {ratios} ({form['batch']} images, "
        f"{form['channels']} channels, {form['side']}x{form['side']} pixels).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line(__doc__, measure, section)
