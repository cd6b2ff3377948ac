"""gankit's iteration against the shortest hand-written loop of the same networks, terms and data.

    python benchmarks/loop.py

For three recipes, with 0, 5 and 15 tricks more that have a hand in everything and change nothing. Both loops end with
the same weights (tests/test_by_hand.py). Copies of one loop may differ by half a percent throughout, by where their
weights happen to lie in memory, so there are three of each. The control is one hand-written loop against the others.

Ratios near 1 drown in a machine's noise. So two things are measured that do not. The bytes that an iteration asks of
torch's allocator: large tensors that the hand-written loop does not make would show there. And the loops take turns
once more with networks so small that little else than the loops' own cost is left: the difference, in milliseconds, is
what gankit adds to an iteration of any size.
"""

from __future__ import annotations

import torch
from by_hand import BY_HAND
from timing import Ratio, ResolvedPlugin, bytes_of_tensors, command_line, interleaved, machine
from workloads import TINY, game_of, iteration_of

IDLE = (0, 5, 15)
"""Tricks that do nothing, beside the recipe's own."""

ROUNDS = {"dcgan_mnist": 100, "wgan_gp_mnist": 60, "igan_vn_mnist": 50}
COPIES = 3

TARGET = 1.01

SMALL = ["data.resolution=8", "train.batch_size=20", "train.precision=fp32", "discriminator.width=2"]
"""Little else is left than what each operation costs, and the loops themselves."""


def measure(quick: bool) -> ResolvedPlugin:
    found: ResolvedPlugin = {"machine": machine(), "recipes": {}}
    for recipe, by_hand in BY_HAND.items():
        overrides = TINY if quick else []
        loops = {}
        for copy in range(COPIES):
            runs = {name_of(idle): game_of(recipe, overrides, idle) for idle in IDLE}
            plain = runs[name_of(0)]
            loops |= {f"{name} {copy}": iteration_of(run) for name, run in runs.items()}
            loops[f"hand {copy}"] = by_hand(plain)
        each = interleaved(loops, 2 if quick else ROUNDS[recipe])
        rounds = each.together({name: [f"{name} {copy}" for copy in range(COPIES)] for name in (*runs, "hand")})
        apart = each.together({"one": ["hand 0"], "others": [f"hand {copy}" for copy in range(1, COPIES)]})
        control = Ratio(*((COPIES - 1) * value for value in apart.ratio("one", "others")))
        found["recipes"][recipe] = {
            "rounds": len(rounds.wall["hand"]),
            "copies": COPIES,
            "batch": plain.recipe.train.batch_size,
            "precision": "bf16" if plain.bf16 else "fp32",
            "milliseconds": each.milliseconds("hand 0"),
            "ratios": {name: rounds.ratio(name, "hand") for name in runs},
            "ratios by the processor's clock": {name: rounds.ratio(name, "hand", "cpu") for name in runs},
            "control": control,
            "busy": rounds.busy,
            "trouble": each.trouble(control),
            "megabytes": {name: bytes_of_tensors(loops[f"{name} 0"]) / 1e6 for name in (name_of(0), "hand")},
            "own": own_cost(recipe, 3 if quick else 60),
        }
    return found


def own_cost(recipe: str, rounds: int) -> ResolvedPlugin:
    """Milliseconds that gankit adds to an iteration, on one thread."""
    width = "generator.channels=2" if recipe == "igan_vn_mnist" else "generator.width=2"
    runs = {name_of(idle): game_of(recipe, [*SMALL, width], idle) for idle in IDLE}
    hands = {name: BY_HAND[recipe](runs[name_of(0)]) for name in ("hand", "control")}
    loops = {name: iteration_of(run) for name, run in runs.items()} | hands
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = interleaved(loops, rounds, repeats=4)
    torch.set_num_threads(threads)
    return {name: taken.difference(name, "hand") for name in (*runs, "control")}


def name_of(idle: int) -> str:
    return f"gankit, {idle}"


def section(found: ResolvedPlugin) -> str:
    lines = [
        "## What the loop costs",
        "",
        "An iteration of gankit over one of the shortest hand-written loop of the same networks, terms and data "
        "(`benchmarks/by_hand.py`), which ends with the same weights: the median of the ratios within rounds in which "
        "all loops take their turn, and the quartiles. *+ 5* and *+ 15* are tricks that have a hand in all that "
        "happens in an iteration and change nothing. Of every loop there are three copies, timed together, since where "
        "weights happen to lie in memory makes copies differ; *control* is one hand-written copy against the others. "
        f"On {found['machine']}; random images of MNIST's size.",
        "",
        "| recipe | by hand | gankit | + 5 tricks | + 15 tricks | control |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = found["recipes"]
    for recipe, row in rows.items():
        by_hand = f"{row['milliseconds']:.0f} ms ({row['precision']}, batch of {row['batch']}, {row['rounds']} rounds)"
        ratios = [str(Ratio(*row["ratios"][name_of(idle)])) for idle in IDLE]
        lines.append(f"| `{recipe}` | {by_hand} | {' | '.join(ratios)} | {Ratio(*row['control'])} |")
    lines += [
        "",
        "Such ratios are as exact as the machine is quiet; two things are more exact. *Tensors* is what an iteration "
        "asks of torch's allocator in all, gankit's over the hand-written loop's: large tensors that the other does "
        "not make would show there. What gankit does more is some operations on values and labels, counted "
        "by `tests/test_costs.py`, and Python. So the loops take turns again, on one thread, in float32, with networks "
        "so small that little else is left: the milliseconds that an iteration of gankit takes more (quartiles), and "
        "what share of the iteration above that would be.",
        "",
        "| recipe | tensors | gankit | + 5 tricks | + 15 tricks | control |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for recipe, row in rows.items():
        asked, by_hand = row["megabytes"][name_of(0)], row["megabytes"]["hand"]
        tensors = f"{asked:.1f} / {by_hand:.1f} MB = {asked / by_hand:.5f}"
        cells = [f"{Ratio(*row['own'][name])} ms, {share(row, name):.2%}" for name in map(name_of, IDLE)]
        lines.append(f"| `{recipe}` | {tensors} | {' | '.join(cells)} | {Ratio(*row['own']['control'])} ms |")
    lines += ["", verdict(rows)]
    return "\n".join(lines) + "\n"


def share(row: ResolvedPlugin, name: str) -> float:
    """Of the iteration by hand, what gankit adds to it."""
    return row["own"][name][0] / row["milliseconds"]


def verdict(rows: ResolvedPlugin) -> str:
    """Whether the target is met, by which of the two, and which measurements do not count."""
    plural = {recipe: row for recipe, row in rows.items() if row["trouble"] is None}
    highest = [max(median for median, _, _ in row["ratios"].values()) for row in plural.values()]
    added = 1 + max(share(row, name) for row in rows.values() for name in map(name_of, IDLE))
    said = f"The target is {TARGET} at most. By what the loop adds the highest ratio is {added:.4f}: {met(added)}."
    if highest:
        said += f" The highest of the medians that count is {max(highest):.3f}: {met(max(highest))}."
    for recipe, row in rows.items():
        if row["trouble"] is not None:
            said += f" The ratios of `{recipe}` do not count: {row['trouble']}."
    return said


def met(ratio: float) -> str:
    return "met" if ratio <= TARGET else "missed"


if __name__ == "__main__":
    command_line(__doc__, measure, section)
