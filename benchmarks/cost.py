"""What every trick costs: the time of an iteration with it over the time of one without it.

    python benchmarks/cost.py [--pairs 40] [--only NAME ...] [--out docs/costs.md]

Two games take turns in one process, iteration by iteration; what counts is the median over pairs of the ratio within
a pair. Which of the two goes first alternates. Parts that fill a slot are compared with what fills it in the plain
recipe. The control is the plain recipe against itself. `--only` prints and writes nothing.
"""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import re
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gankit import Recipe
from gankit.plugin.registry import Registry
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.run import TrainingRun
from gankit.training.update import train_iteration

PLAIN: dict[str, Any] = {
    "name": "plain",
    "train": {"batch_size": 64, "device": "cpu"},
    "data": {
        "use": "shapes",
        "resolution": 28,
        "channels": 1,
        "count": 640,
        "kinds": ["circle", "star", "ring", "bar"],
    },
    "generator": {"use": "igan", "channels": 32},
    "discriminator": {"use": "igan", "width": 16},
    "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}},
}
"""MNIST's size, without classes."""

WARM_UP = 3

LOGGERS = "gankit_plugins.logger."
"""Left out: they act when a row is logged, in a run directory, and not in an iteration."""


class Ratio(NamedTuple):
    """Of the iteration with a part to the one without, over the pairs."""

    median: float
    low: float
    """The lower quartile."""

    high: float


def measured(change: dict[str, Any], pairs: int) -> Ratio:
    """Both games, turn by turn."""
    runs = [assembled(PLAIN), assembled(merge(PLAIN, change))]
    for run in runs:
        for _ in range(WARM_UP):
            train_iteration(run)
    ratios = []
    for number in range(pairs):
        seconds = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            train_iteration(runs[which])
            runs[which].after_iteration(runs[which])
            seconds[which] = time.perf_counter() - began
        ratios.append(seconds[1] / seconds[0])
    low, median, high = statistics.quantiles(ratios, n=4)
    return Ratio(median, low, high)


def assembled(raw: dict[str, Any]) -> TrainingRun:
    recipe = Recipe.from_dict(raw, source="benchmarks/cost.py")
    prepare_torch(recipe)
    run = assemble(recipe)
    run.load_data()
    run.start()
    return run


def changes() -> dict[str, dict[str, Any]]:
    """Every part that comes with gankit and may stand in the plain recipe, by the name in the table."""
    found: dict[str, dict[str, Any]] = {}
    for entry in sorted(Registry.installed().entries, key=lambda e: (e.kind != "trick", e.kind, e.name)):
        if entry.distribution != "gankit" or entry.value.startswith(LOGGERS):
            continue
        if entry.kind == "trick":
            found[f"trick {entry.name}"] = {"tricks": {entry.name: {}}}
        elif entry.kind in ("loss", "lr_schedule", "latent"):
            found[f"{entry.kind} {entry.name}"] = {entry.kind: {"use": entry.name}}
        elif entry.kind == "optimizer":
            found[f"optimizer {entry.name}"] = {
                "optimizer": {"generator": {"use": entry.name}, "discriminator": {"use": entry.name}}
            }
        elif entry.kind == "normalization":
            found[f"normalization {entry.name}, in D"] = {"normalization": {"discriminator": {"use": entry.name}}}
    return found


class Words(NamedTuple):
    """What a plugin's documentation says, in a line each."""

    source: str
    advice: str
    against: str


def words_of(plugin_class: type) -> Words:
    """The first sentence behind `Source:`, `When to use:` and `When not:`."""
    text = inspect.getdoc(plugin_class) or ""

    def after(label: str) -> str:
        found = re.search(rf"{label}: (.+?)(?:\.\s|\.$|\n\n|$)", text, re.DOTALL)
        return " ".join(found[1].split()).replace("|", r"\|").rstrip(".") if found else ""

    return Words(after("Source"), after("When to use"), after("When not"))


def page(ratios: dict[str, Ratio], control: Ratio, pairs: int) -> str:
    """The table as Markdown."""
    entries = {f"{e.kind} {e.name}": e for e in Registry.installed().entries if e.distribution == "gankit"}
    lines = [
        "# The tricks, and what each costs",
        "",
        f"Written by `python benchmarks/cost.py --pairs {pairs}`. *Cost* is the time of an iteration with the part "
        "over the time of one without it, at its default settings: the median of the ratios within pairs of iterations "
        "that took turns in one process, and their quartiles. The plain recipe is IGAN at MNIST's size (28x28, one "
        "channel, "
        "batches of 64, one turn of D for one of G, cross entropy, Adam, batch norm in G) on "
        f"{os.cpu_count()} cores of {processor()}, torch {torch.__version__}. A part that fills a slot is compared "
        "with what fills it there: `non_saturating`, `adam`, `normal`, `constant`, and no normalisation in D.",
        "",
        f"The plain recipe against itself: {control.median:.3f} ({control.low:.3f} to {control.high:.3f}). Differences "
        "within that spread mean nothing. Two parts save work because they do less: `packing` "
        "gives D half as many images to judge, and `balanced_steps` leaves out turns of a D that is ahead.",
        "",
        "| part | cost | source | when to use | when not |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, ratio in ratios.items():
        words = words_of(entries[name.partition(",")[0]].load())
        cost = f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
        lines.append(f"| {name} | {cost} | {words.source} | {words.advice} | {words.against} |")
    return "\n".join(lines) + "\n"


def processor() -> str:
    """What the machine calls its processor."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--only", nargs="*", default=None, help="names as in the table")
    parser.add_argument("--out", type=Path, default=Path("docs/costs.md"))
    arguments = parser.parse_args()
    found = changes()
    control = measured({}, arguments.pairs)
    print(f"control {control.median:.3f} ({control.low:.3f}-{control.high:.3f})", flush=True)
    ratios = {}
    for name in found if arguments.only is None else arguments.only:
        ratio = ratios[name] = measured(found[name], arguments.pairs)
        print(f"{name} {ratio.median:.3f} ({ratio.low:.3f}-{ratio.high:.3f})", flush=True)
    if arguments.only is None:
        arguments.out.write_text(page(ratios, control, arguments.pairs), encoding="utf-8")


if __name__ == "__main__":
    main()
