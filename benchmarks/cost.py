"""Cost of every plugin: the time of an iteration with it over the time of one without it.

    python benchmarks/cost.py [--pairs 40] [--only NAME ...] [--out docs/costs.md]

The iterations of two runs are interleaved in one process. The result is the median, over the pairs, of the ratio within
a pair. A plugin that fills a slot is compared with the one that fills it in the plain recipe. The control is the plain
recipe against itself. With `--only`, the results are printed and no page is written.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timing import Ratio, interleaved, parser_of, processor, table
from workloads import iteration_of, started

from gankit import Recipe
from gankit.plugin.registry import Registry
from gankit.plugin.slots import PLAYERS, TRICK_KINDS
from gankit.recipe.toml import merge
from gankit.training.run import TrainingRun

KINDS = ["circle", "star", "ring", "bar"]
PLAIN: dict[str, Any] = {
    "name": "plain",
    "train": {"batch_size": 64, "device": "cpu"},
    "data": {"use": "shapes", "resolution": 28, "channels": 1, "count": 640, "kinds": KINDS},
    "generator": {"use": "igan", "channels": 32},
    "discriminator": {"use": "igan", "width": 16},
    "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}},
}
"""Recipe at the size of MNIST, with networks that ignore the classes."""

FOR_GENERATOR = "conditional_batch_norm"
"""Normalisation that is only for the generator. The cost of all others is measured in D."""

PARTNERS: dict[str, dict[str, Any]] = {
    **{f"loss {name}": {"discriminator": {"use": name, "width": 16}} for name in ("began", "ebgan")},
    **{
        f"trick {name}": {"normalization": {"generator": {"use": FOR_GENERATOR}}}
        for name in ("auxiliary_classifier", "projection")
    },
    "trick mismatched_pairs": {
        "latent": {"use": "normal", "size": 228},
        "generator": {"use": "stackgan", "width": 32},
        "discriminator": {"use": "stackgan", "width": 16},
    },
    "trick training_by_sampling": {
        "data": {"use": "drawn_table"},
        **{player: {"use": "ctgan"} for player in PLAYERS},
    },
    "trick progressive_growing": {
        "data": {"resolution": 32},
        **{player: {"use": "pggan", "max_width": 64} for player in PLAYERS},
    },
    **{
        name: {
            "data": {"resolution": 32},
            "generator": {"use": "stylegan2", "channel_base": 1024, "max_channels": 64, "w_size": 128},
        }
        for name in ("penalty path_length", "trick style_mixing")
    },
    "trick semi_supervised": {
        "data": {
            "use": "few_labels",
            "labels": 10 * len(KINDS),
            "images": {"use": "shapes", "resolution": 28, "channels": 1, "count": 640, "kinds": KINDS},
        }
    },
    "trick phase_shuffle": {
        "data": {"use": "tones", "count": 640},
        **{player: {"use": "wavegan", "width": 8} for player in PLAYERS},
    },
}
"""Change of the plain recipe that a plugin needs, by the name in the table. The time without it has this change too."""

NEED_SOURCES = ("cycle_consistency", "l1_to_target")
"""Tricks that are not timed, because they need source images, which the plain recipe does not have."""

LEFT_OUT = ("trick federated", "trick random_caption", "trick uncertainty_weights")
"""Plugins that need files or the names of loss terms, and plugins that the drawn shapes refuse."""

PERIODS = {"penalty path_length": 8}
"""Number of iterations of a timed block, for plugins that act only in every n-th iteration. Default: 1."""


def measured(change: dict[str, Any], pairs: int, partner: dict[str, Any] | None = None, period: int = 1) -> Ratio:
    """Return the time of an iteration with a change to the plain recipe over the time without it.

    `partner` is changed in both recipes. `period` is the number of iterations that are timed together.
    """
    plain = merge(PLAIN, partner or {})
    raws = {"plain": plain, "changed": merge(plain, change)}
    loops = {name: iteration_of(assembled(raw)) for name, raw in raws.items()}
    return interleaved(loops, pairs, period).ratio("changed", "plain")


def assembled(raw: dict[str, Any]) -> TrainingRun:
    """Return the run of a recipe, ready for its first iteration."""
    return started(Recipe.from_dict(raw, source="benchmarks/cost.py"))


def changes() -> dict[str, dict[str, Any]]:
    """Return the change to the plain recipe that activates each plugin of gankit, by the name in the table."""
    installed = [e for e in Registry.installed().entries if e.distribution == "gankit" and e.kind != "logger"]
    entries = [e for e in installed if e.name not in NEED_SOURCES]
    found: dict[str, dict[str, Any]] = {}
    for entry in sorted(entries, key=lambda e: ("" if e.kind in TRICK_KINDS else e.kind, e.name)):
        kind, name, use = entry.kind, f"{entry.kind} {entry.name}", {"use": entry.name}
        if kind in TRICK_KINDS:
            found[name] = {"tricks": {entry.name: {}}} | PARTNERS.get(name, {})
        elif kind in ("loss", "lr_schedule", "latent"):
            found[name] = {kind: use} | PARTNERS.get(name, {})
        elif kind == "optimizer":
            found[name] = {kind: dict.fromkeys(PLAYERS, use)}
        elif kind == "normalization":
            player = "generator" if entry.name == FOR_GENERATOR else "discriminator"
            found[f"{name}, in {player[0].upper()}"] = {kind: {player: use}}
    return {name: change for name, change in found.items() if name not in LEFT_OUT}


class Advice(NamedTuple):
    """First sentences of three sections of a plugin's docstring."""

    source: str
    when_to_use: str
    when_not: str


def advice_of(plugin_class: type) -> Advice:
    """Return the first sentences after `Source:`, `When to use:` and `When not:`."""
    text = inspect.getdoc(plugin_class) or ""

    def after(label: str) -> str:
        sentence = re.search(rf"{label}:\s+(.+?)(?:\.\s|\.$|\n\n|$)", text, re.DOTALL)
        return " ".join(sentence[1].split()).replace("|", r"\|").rstrip(".") if sentence else ""

    return Advice(after("Source"), after("When to use"), after("When not"))


def page(ratios: dict[str, Ratio], control: Ratio, pairs: int) -> str:
    """Return the page as Markdown."""
    entries = {f"{e.kind} {e.name}": e for e in Registry.installed().entries if e.distribution == "gankit"}
    lines = [
        "# The cost of each plugin",
        "",
        f"Written by `python benchmarks/cost.py --pairs {pairs}`. *Cost* is the time of an iteration with the plugin "
        "over the time of one without it, at its default settings: the median of the ratios within pairs of "
        "interleaved iterations in one process, with the quartiles. The plain recipe is IGAN at MNIST's size (28x28, "
        "one channel, batches of 64, one D step and one G step, cross entropy, Adam, batch norm in G) on "
        f"{os.cpu_count()} cores of {processor()}, torch {torch.__version__}. A plugin that fills a slot is compared "
        "with the one that fills it in the plain recipe: `non_saturating`, `adam`, `normal`, `constant`, no "
        "normalisation in D, and `batch_norm` in G. With the losses `began` and `ebgan`, the plain recipe has the same "
        "autoencoder as D; with `auxiliary_classifier` and `projection`, it has `conditional_batch_norm` in G; with "
        "`path_length` and `style_mixing`, `stylegan2` as G at 32x32; with "
        "`mismatched_pairs`, the networks of StackGAN; with `progressive_growing`, `pggan` at 32x32.",
        "",
        f"The plain recipe against itself: {control.median:.3f} ({control.low:.3f} to {control.high:.3f}). Differences "
        "within that spread mean nothing. Three plugins save time because they do less: `packing` gives D half as many "
        "inputs, `balanced_steps` skips D steps while D is ahead, and `progressive_growing` was timed at its first "
        "size, 4x4.",
        "",
    ]
    rows = [[name, cost(ratio), *advice_of(entries[name.partition(",")[0]].load())] for name, ratio in ratios.items()]
    return "\n".join([*lines, *table(("plugin", "cost", "source", "when to use", "when not"), rows)]) + "\n"


def cost(ratio: Ratio) -> str:
    """Return a ratio as the table shows it."""
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--pairs", type=int, default=40, help="pairs of iterations")
    parser.add_argument("--only", nargs="*", help="names as in the table")
    parser.add_argument("--out", type=Path, default=Path("docs/costs.md"))
    given = parser.parse_args(arguments)
    found = changes()
    control = measured({}, given.pairs)
    print(f"control {cost(control)}", flush=True)
    ratios = {}
    for name in found if given.only is None else given.only:
        ratios[name] = measured(found[name], given.pairs, PARTNERS.get(name), PERIODS.get(name, 1))
        print(f"{name} {cost(ratios[name])}", flush=True)
    if given.only is None:
        given.out.write_text(page(ratios, control, given.pairs), encoding="utf-8")


if __name__ == "__main__":
    main()
