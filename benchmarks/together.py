"""Every pair of parts in one run: which train together, and which are refused, for what reason.

    python benchmarks/together.py [--out docs/combinations.md]

Every trick, loss, normalisation and optimiser that is installed with gankit is put into one tiny recipe together with
every other one. A pair that no check refuses is played for three iterations: the losses must be finite, gradients must
reach both players, and a game that is restored after the first iteration must end with the same bytes. The tests
play the same pairs, and two hundred triples, and compare what comes out with the table written here.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from gankit import InputError, Recipe
from gankit.plugin.registry import Registry
from gankit.plugin.slots import PLAYERS
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
"""Images of two classes, and networks that take no notice of them."""

BY_CLASS: Change = merge(
    TINY, {"generator": {"use": "igan_vn", "channels": 2}, "discriminator": {"use": "igan_per_class", "width": 2}}
)
"""The same with a branch and a discriminator for each class."""

SMALL: dict[str, Change] = {
    "virtual_batch_norm": {"size": 4},
    "experience_replay": {"capacity": 8},
    "minibatch_discrimination": {"kernels": 3, "dims": 2},
    "unrolled_discriminator": {"steps": 2},
    "balanced_steps": {"patience": 1},
    "dropout": {"p": 0.3},
}
"""Settings that suit a tiny game better than the defaults."""

LEFT_OUT = {("loss", "non_saturating"), ("normalization", "none"), ("optimizer", "adam")}
"""What the tiny recipe has anyway."""

LOGGERS = "gankit_plugins.logger."
"""Left out too: they have no hand in the game, and do nothing where there is no run directory, as here."""

MEANING: dict[Outcome, str] = {"trains": ".", "warning": "a", "refused": "x", "slot": "-"}


@cache
def parts() -> dict[str, Change]:
    """What is put together: the change to a recipe that switches a part on, by the name it has in the table."""
    found: dict[str, Change] = {"train.accumulate": {"train": {"accumulate": 2}}}
    for entry in sorted(Registry.installed().entries, key=lambda e: (e.kind, e.name)):
        if entry.distribution != "gankit" or (entry.kind, entry.name) in LEFT_OUT or entry.value.startswith(LOGGERS):
            continue
        table = {"use": entry.name} | SMALL.get(entry.name, {})
        if entry.kind == "trick":
            found[entry.name] = {"tricks": {entry.name: table}}
        elif entry.kind == "loss":
            found[f"loss {entry.name}"] = {"loss": table}
        elif entry.kind == "optimizer":
            found[f"optimizer {entry.name}"] = {"optimizer": dict.fromkeys(PLAYERS, table)}
        elif entry.kind == "normalization":
            for player in PLAYERS:
                if TINY["normalization"][player]["use"] != entry.name:
                    found[f"{entry.name} in {player[0].upper()}"] = {"normalization": {player: table}}
    return found


@dataclass
class Result:
    """What became of some parts in one recipe."""

    outcome: Outcome
    sentences: list[str] = field(default_factory=list)
    """The advice, or the reasons why they are refused."""


def clash(*changes: Change) -> bool:
    """Whether two of them want the same slot."""
    slots = [
        f"{key}.{player}" if key in ("normalization", "optimizer") else key
        for change in changes
        for key, table in change.items()
        if key != "tricks"
        for player in table
        if key in ("normalization", "optimizer") or player == "use"
    ]
    return len(slots) != len(set(slots))


def play(*changes: Change, base: Change = TINY) -> Result:
    """Plays a recipe with these changes for three iterations, and again from a restored first one.

    Raises AssertionError when it breaks the promises of this file's first lines.
    """
    raw = base
    for change in changes:
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
    noted = json.dumps(plain)
    tensors = {file: {name: t.clone() for name, t in of.items()} for file, of in tensors.items()}
    for _ in range(2):
        train_iteration(run)
    check_finite(run)
    assert all(reached.values()), f"gradients reach {reached}"
    again = assemble(recipe)
    again.load_data()
    restore(again, tensors, json.loads(noted))
    again.start()
    assert to_bytes(again) == saved, "what is restored is not what was saved"
    for _ in range(2):
        train_iteration(again)
    assert to_bytes(again) == to_bytes(run), "a restored game goes another way"
    return Result("warning" if run.warnings else "trains", run.warnings)


def started(recipe: Recipe) -> TrainingRun:
    run = assemble(recipe)
    run.load_data()
    run.start()
    return run


def to_bytes(run: TrainingRun) -> tuple[dict[str, bytes], str]:
    tensors, plain = capture(run)
    return {file: tensors_to_bytes(of, {}) for file, of in tensors.items()}, json.dumps(plain, sort_keys=True)


@cache
def alone(name: str) -> Result:
    """What becomes of one part in the tiny recipe."""
    return play(parts()[name])


def pair(one: str, other: str) -> Result:
    """What becomes of two parts in the tiny recipe, in this order; of the advice, what neither gets alone."""
    changes = parts()[one], parts()[other]
    if clash(*changes):
        return Result("slot")
    result = play(*changes)
    if result.outcome == "refused":
        return result
    known = {*alone(one).sentences, *alone(other).sentences}
    news = [sentence for sentence in result.sentences if sentence not in known]
    return Result("warning" if news else "trains", news)


def row(name: str) -> list[Result]:
    """A part together with each before it, and at the end alone."""
    names = list(parts())
    return [*(pair(other, name) for other in names[: names.index(name)]), alone(name)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/combinations.md"))
    out: Path = parser.parse_args().out
    with ProcessPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        rows = dict(zip(parts(), pool.map(row, parts()), strict=True))
    out.write_text(page(rows), encoding="utf-8")


def symbols(results: list[Result]) -> str:
    """A row of the matrix."""
    return "".join(MEANING[result.outcome] for result in results)


def page(rows: dict[str, list[Result]]) -> str:
    """The page as Markdown."""
    names = list(rows)
    pairs = {(other, name): result for name in names for other, result in zip(names, rows[name][:-1], strict=False)}
    counts = {kind: sum(r.outcome == kind for r in pairs.values()) for kind in MEANING}
    lines = [
        "# What goes together",
        "",
        "Written by `python benchmarks/together.py`; the tests play the same pairs and compare.",
        "",
        f"{len(names)} parts, {len(pairs)} pairs in a tiny recipe: {counts['trains']} train, {counts['advice']} train "
        f"and come with advice, {counts['refused']} refused, {counts['slot']} for the same slot. What trains has "
        "finite losses, gradients that reach both players, and ends with the same bytes after a resume.",
        "",
        "`.` trains, `a` trains and gets advice that neither gets alone, `x` is refused, `-` wants the same "
        "slot. On the diagonal: the part alone.",
        "",
        "```",
    ]
    width = max(len(name) for name in names)
    for number, name in enumerate(names):
        lines.append(f"{number + 1:3} {name:{width}} {symbols(rows[name])}")
    lines += ["```", "", "Columns are in the order of the rows.", "", "## Refused", ""]
    lines += told({f"{a} + {b}": r for (a, b), r in pairs.items() if r.outcome == "refused"})
    lines += ["## Advised against, or to be known", "", "Alone, in the tiny recipe:", ""]
    lines += told({name: results[-1] for name, results in rows.items()})
    lines += ["Of pairs, what neither says alone:", ""]
    lines += told({f"{a} + {b}": r for (a, b), r in pairs.items() if r.outcome == "warning"})
    return "\n".join(lines).rstrip() + "\n"


def told(results: dict[str, Result]) -> list[str]:
    """A table of sentences, each with all that it is said of."""
    said: dict[str, list[str]] = {}
    for name, result in results.items():
        for sentence in result.sentences:
            said.setdefault(sentence.replace("|", "/"), []).append(name)
    if not said:
        return ["Nothing.", ""]
    rows = [f"| {', '.join(names)} | {sentence} |" for sentence, names in said.items()]
    return ["| what | what is said |", "| --- | --- |", *rows, ""]


if __name__ == "__main__":
    main()
