"""Combinations: whether each pair of plugins trains in one run, or is refused and why.

    python benchmarks/together.py [--out docs/combinations.md]

Each trick, penalty, augmentation, loss, normalisation and optimiser of gankit is put into one tiny recipe with each
other one. A pair that no check refuses is trained for three iterations. The losses must be finite, gradients must reach
both players, and a run that is restored after the first iteration must end with the same bytes. The tests train a part
of the same pairs, and triples, and compare the results with the page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from timing import parser_of
from timing import table as table_of
from workloads import started

from gankit import InputError, Recipe
from gankit.plugin.registry import Registry
from gankit.plugin.slots import PLAYER_SLOTS, PLAYERS, TRICK_KINDS
from gankit.recipe.toml import merge
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.training.assembly import assemble
from gankit.training.loop import check_finite
from gankit.training.run import TrainingRun
from gankit.training.state import capture, restore
from gankit.training.update import train_iteration

Change = dict[str, Any]
Outcome = Literal["trains", "warning", "refused", "slot"]

TINY: Change = {
    "name": "tiny",
    "train": {"iterations": 3, "batch_size": 4, "device": "cpu", "keep_freed_memory": False},
    "data": {"use": "shapes", "resolution": 8, "count": 16, "kinds": ["circle", "ring"]},
    "generator": {"use": "igan", "channels": 2},
    "discriminator": {"use": "igan", "width": 2},
    "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}},
}
"""Images of two classes, and networks that ignore the classes."""

BY_CLASS: Change = merge(
    TINY, {"generator": {"use": "igan_vn", "channels": 2}, "discriminator": {"use": "igan_per_class", "width": 2}}
)
"""The same recipe with a branch and a discriminator for each class."""

SMALL: dict[str, Change] = {
    "virtual_batch_norm": {"size": 4},
    "experience_replay": {"capacity": 8},
    "minibatch_discrimination": {"kernels": 3, "dims": 2},
    "unrolled_discriminator": {"steps": 2},
    "balanced_steps": {"patience": 1},
    "dropout": {"p": 0.3},
    "freeze_d": {"layers": 1},
    "progressive_growing": {"stable": 1, "fade": 1},
}
"""Settings for plugins whose defaults do not suit a tiny run."""

STYLEGAN2: Change = {"use": "stylegan2", "w_size": 4, "mapping_layers": 2, "channel_base": 16, "max_channels": 4}
"""Generator with a mapping network, which some plugins need."""

PARTNERS: dict[str, Change] = {
    "began": {"discriminator": {"use": "began", "width": 2, "code": 4}},
    "ebgan": {"discriminator": {"use": "ebgan", "width": 2, "halvings": 2}},
    "progressive_growing": {player: {"use": "pggan", "width": 2, "max_width": 3} for player in PLAYERS},
    "training_by_sampling": {
        "data": {"use": "drawn_table", "count": 60},
        **{player: {"use": "ctgan", "hidden": [4]} for player in PLAYERS},
    },
    **{name: {"data": {"resolution": 8}, "generator": STYLEGAN2} for name in ("path_length", "style_mixing")},
    "mismatched_pairs": {
        "generator": {"use": "stackgan", "width": 1, "text_size": 2, "condition_size": 2},
        "discriminator": {"use": "stackgan", "width": 2, "text_size": 2, "compressed_size": 2},
    },
    **{
        name: {"generator": {"use": "conditional_dcgan", "width": 2}} for name in ("auxiliary_classifier", "projection")
    },
    "phase_shuffle": {
        "data": {"use": "tones", "count": 16, "length": 256, "condition": "kind"},
        **{player: {"use": "wavegan", "width": 2} for player in PLAYERS},
    },
}
"""Other parts of the recipe that a plugin needs."""

LEFT_OUT = {("loss", "non_saturating"), ("normalization", "none"), ("optimizer", "adam")}
LEFT_OUT |= {("trick", "cycle_consistency"), ("trick", "l1_to_target"), ("trick", "random_caption")}
LEFT_OUT |= {("trick", name) for name in ("federated", "dp_sgd", "semi_supervised", "uncertainty_weights")}
"""Plugins that the tiny recipe has already, and tricks that need files, source images or captions.

`dp_sgd` is left out because it accepts only the few plugins that its page lists, `semi_supervised` because it needs a
few labels, and `uncertainty_weights` because it needs the names of loss terms.

Loggers are left out too: without a run directory they do nothing.
"""

REFUSED = ("conditional_batch_norm", "discriminator")
"""Normalisation that is refused for a player, whatever else the recipe has."""

SYMBOLS: dict[Outcome, str] = {"trains": ".", "warning": "a", "refused": "x", "slot": "-"}


@cache
def changes() -> dict[str, Change]:
    """Return the change to a recipe that activates each plugin, by its name in the table."""
    found: dict[str, Change] = {"train.accumulate": {"train": {"accumulate": 2}}}
    entries = [e for e in Registry.installed().entries if e.distribution == "gankit" and e.kind != "logger"]
    for entry in sorted(entries, key=lambda e: ("trick" if e.kind in TRICK_KINDS else e.kind, e.name)):
        kind, table = entry.kind, {"use": entry.name} | SMALL.get(entry.name, {})
        if (kind, entry.name) in LEFT_OUT:
            continue
        if kind in TRICK_KINDS:
            found[entry.name] = {"tricks": {entry.name: table}} | PARTNERS.get(entry.name, {})
        elif kind == "loss":
            found[f"loss {entry.name}"] = {"loss": table} | PARTNERS.get(entry.name, {})
        elif kind == "optimizer":
            found[f"optimizer {entry.name}"] = {"optimizer": dict.fromkeys(PLAYERS, table)}
        elif kind == "normalization":
            for player in PLAYERS:
                if TINY["normalization"][player]["use"] != entry.name and (entry.name, player) != REFUSED:
                    found[f"{entry.name} in {player[0].upper()}"] = {"normalization": {player: table}}
    return found


@dataclass
class Result:
    """Outcome of one recipe."""

    outcome: Outcome
    sentences: list[str] = field(default_factory=list)
    """Warnings, or the reasons of a refusal."""


def clash(*combined: Change) -> bool:
    """Return whether two changes fill the same slot."""
    slots = [
        f"{key}.{player}" if key in PLAYER_SLOTS else key
        for change in combined
        for key, table in change.items()
        if key != "tricks"
        for player in table
        if key in PLAYER_SLOTS or player == "use"
    ]
    return len(slots) != len(set(slots))


def train(*combined: Change, base: Change = TINY) -> Result:
    """Train a recipe with these changes for three iterations, and again from a state restored after the first.

    An assertion fails if a loss is not finite, a player gets no gradient, or the restored run differs.
    """
    raw = base
    for change in combined:
        raw = merge(raw, change)
    recipe = Recipe.from_dict(raw, source="tiny.toml")
    try:
        run = started(recipe)
    except InputError as refused:
        return Result("refused", [sentence.partition(": ")[2] for sentence in str(refused).splitlines()])
    reached = dict.fromkeys(PLAYERS, False)
    after_backward = run.after_backward

    def watch(run: TrainingRun, step: Any, player: Any) -> None:
        reached[player] |= any(p.grad is not None and bool(p.grad.any()) for p in run.parameters[player])
        after_backward(run, step, player)

    run.after_backward = watch
    train_iteration(run)
    saved = to_bytes(run)
    tensors, plain = capture(run)
    values = json.dumps(plain)
    tensors = {file: {name: t.clone() for name, t in of.items()} for file, of in tensors.items()}
    for _ in range(2):
        train_iteration(run)
    check_finite(run)
    assert all(reached.values()), f"gradients reach {reached}"
    again = assemble(recipe)
    again.load_data()
    restore(again, tensors, json.loads(values))
    again.start()
    assert to_bytes(again) == saved, "the restored state is not the saved one"
    for _ in range(2):
        train_iteration(again)
    assert to_bytes(again) == to_bytes(run), "the restored run trains differently"
    return Result("warning" if run.warnings else "trains", run.warnings)


def to_bytes(run: TrainingRun) -> tuple[dict[str, bytes], str]:
    """Return the state of a run as a checkpoint holds it."""
    tensors, plain = capture(run)
    return {file: tensors_to_bytes(of, {}) for file, of in tensors.items()}, json.dumps(plain, sort_keys=True)


@cache
def alone(name: str) -> Result:
    """Return the result of one plugin in the tiny recipe."""
    return train(changes()[name])


def pair(one: str, other: str) -> Result:
    """Return the result of two plugins in this order, with the warnings that neither causes alone."""
    combined = changes()[one], changes()[other]
    if clash(*combined):
        return Result("slot")
    result = train(*combined)
    if result.outcome == "refused":
        return result
    already = {*alone(one).sentences, *alone(other).sentences}
    additional = [sentence for sentence in result.sentences if sentence not in already]
    return Result("warning" if additional else "trains", additional)


def row(name: str) -> list[Result]:
    """Return the results of a plugin with each one before it, and alone."""
    names = list(changes())
    return [*(pair(other, name) for other in names[: names.index(name)]), alone(name)]


def symbols(results: list[Result]) -> str:
    return "".join(SYMBOLS[result.outcome] for result in results)


def page(rows: dict[str, list[Result]]) -> str:
    """Return the page as Markdown."""
    names = list(rows)
    pairs = {(other, name): result for name in names for other, result in zip(names, rows[name][:-1], strict=False)}
    counts = {kind: sum(r.outcome == kind for r in pairs.values()) for kind in SYMBOLS}
    lines = [
        "# Combinations of plugins",
        "",
        "Written by `python benchmarks/together.py`. The tests train a part of the same pairs and compare.",
        "",
        f"{len(names)} plugins, {len(pairs)} pairs in a tiny recipe: {counts['trains']} train, {counts['warning']} "
        f"train with a warning, {counts['refused']} are refused, {counts['slot']} fill the same slot. A pair that "
        "trains has finite losses and gradients for both players, and ends with the same bytes after a resume.",
        "",
        "`.` trains. `a` trains with an additional warning, which neither plugin causes alone. `x` is refused. `-` "
        "fills the same slot. The diagonal is the plugin alone.",
        "",
        "```",
    ]
    width = max(len(name) for name in names)
    for number, name in enumerate(names):
        lines.append(f"{number + 1:3} {name:{width}} {symbols(rows[name])}")
    lines += ["```", "", "Columns are in the order of the rows.", "", "## Refused pairs", ""]
    lines += table({f"{a} + {b}": r for (a, b), r in pairs.items() if r.outcome == "refused"}, "reason")
    lines += ["## Warnings", "", "One plugin in the tiny recipe:", ""]
    lines += table({name: results[-1] for name, results in rows.items()}, "warning")
    lines += ["Pairs, with the warnings that neither plugin causes alone:", ""]
    lines += table({f"{a} + {b}": r for (a, b), r in pairs.items() if r.outcome == "warning"}, "warning")
    return "\n".join(lines).rstrip() + "\n"


def table(results: dict[str, Result], head: str) -> list[str]:
    """Return a table of error messages. Each row has the plugins, or pairs of plugins, that cause the message."""
    causes: dict[str, list[str]] = {}
    for name, result in results.items():
        for sentence in result.sentences:
            causes.setdefault(sentence.replace("|", "/"), []).append(name)
    if not causes:
        return ["None.", ""]
    return [*table_of(("plugins", head), ((", ".join(names), sentence) for sentence, names in causes.items())), ""]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/combinations.md"))
    out: Path = parser.parse_args(arguments).out
    with ProcessPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        rows = dict(zip(changes(), pool.map(row, changes()), strict=True))
    out.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
