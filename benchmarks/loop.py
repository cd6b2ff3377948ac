"""Time of gankit's iteration over that of a hand-written loop with the same networks, terms and data.

    python benchmarks/loop.py

Measured for three recipes, with 0, 5 and 15 additional plugins that implement every hook and change nothing. Both loops
end with the same weights (tests/test_by_hand.py). Copies of one loop differ by up to half a percent, by the place of
their weights in memory, so each loop has three copies. The control is one hand-written copy against the others.

Ratios near 1 are smaller than the noise of a machine, so two more exact quantities are measured. The bytes that an
iteration requests from torch's allocator show large tensors that the hand-written loop does not make. And the loops are
timed with networks so small that little but the cost of the loops is left: the difference in milliseconds is what
gankit adds to an iteration of any size.
"""

from __future__ import annotations

import torch
from by_hand import BY_HAND
from timing import Loop, Ratio, Result, bytes_of_tensors, command_line, interleaved, machine, table
from workloads import TINY, benchmark_run, iteration_of

IDLE = (0, 5, 15)
"""Numbers of plugins that do nothing, in addition to the recipe's own."""

ROUNDS = {"dcgan_mnist": 100, "wgan_gp_mnist": 60, "igan_vn_mnist": 50}
COPIES = 3

TARGET = 1.01

SMALL = ["data.resolution=8", "train.batch_size=20", "train.precision=fp32", "discriminator.width=2"]
"""Settings that leave little but the fixed cost of each operation and the cost of the loops."""


def measure(quick: bool) -> Result:
    result: Result = {"machine": machine(), "recipes": {}}
    for recipe, by_hand in list(BY_HAND.items())[: 1 if quick else None]:
        overrides = TINY if quick else []
        loops: dict[str, Loop] = {}
        for copy in range(COPIES):
            runs = {name_of(idle): benchmark_run(recipe, overrides, idle) for idle in IDLE}
            plain = runs[name_of(0)]
            loops |= {f"{name} {copy}": iteration_of(run) for name, run in runs.items()}
            loops[f"hand {copy}"] = by_hand(plain)
        single = interleaved(loops, 2 if quick else ROUNDS[recipe])
        rounds = single.summed({name: [f"{name} {copy}" for copy in range(COPIES)] for name in (*runs, "hand")})
        groups = single.summed({"one": ["hand 0"], "others": [f"hand {copy}" for copy in range(1, COPIES)]})
        control = Ratio(*((COPIES - 1) * value for value in groups.ratio("one", "others")))
        result["recipes"][recipe] = {
            "rounds": len(rounds.wall["hand"]),
            "copies": COPIES,
            "batch": plain.recipe.train.batch_size,
            "precision": "bf16" if plain.bf16 else "fp32",
            "milliseconds": single.milliseconds("hand 0"),
            "ratios": {name: rounds.ratio(name, "hand") for name in runs},
            "ratios of CPU time": {name: rounds.ratio(name, "hand", "cpu") for name in runs},
            "control": control,
            "busy cores": rounds.busy_cores,
            "invalid": single.invalid(control),
            "megabytes": {name: bytes_of_tensors(loops[f"{name} 0"]) / 1e6 for name in (name_of(0), "hand")},
            "added": added_milliseconds(recipe, 3 if quick else 60),
        }
    return result


def added_milliseconds(recipe: str, rounds: int) -> Result:
    """Return the milliseconds that gankit adds to an iteration, on one thread."""
    width = "generator.channels=2" if recipe == "igan_vn_mnist" else "generator.width=2"
    runs = {name_of(idle): benchmark_run(recipe, [*SMALL, width], idle) for idle in IDLE}
    by_hand = {name: BY_HAND[recipe](runs[name_of(0)]) for name in ("hand", "control")}
    loops = {name: iteration_of(run) for name, run in runs.items()} | by_hand
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = interleaved(loops, rounds, repeats=4)
    torch.set_num_threads(threads)
    return {name: taken.difference(name, "hand") for name in (*runs, "control")}


def name_of(idle: int) -> str:
    """Return the name of gankit's loop with a number of idle plugins."""
    return f"gankit, {idle}"


def section(found: Result) -> str:
    lines = [
        "## Cost of the loop",
        "",
        "Time of an iteration of gankit over that of a short hand-written loop with the same networks, terms and data "
        "(`benchmarks/by_hand.py`), which ends with the same weights. The result is the median, over the rounds, of "
        "the ratio within a round, with the quartiles. *+ 5* and *+ 15* are additional plugins that implement every "
        "hook of an iteration and change nothing. Each loop has three interleaved copies, because the place of the "
        "weights in memory makes copies differ. *control* is one hand-written copy against the others. "
        f"On {found['machine']}; random images of MNIST's size.",
        "",
    ]
    rows, heads, cells = found["recipes"], ("gankit", "+ 5 plugins", "+ 15 plugins", "control"), []
    for recipe, row in rows.items():
        by_hand = f"{row['milliseconds']:.0f} ms ({row['precision']}, batch of {row['batch']}, {row['rounds']} rounds)"
        ratios = [Ratio(*row["ratios"][name_of(idle)]) for idle in IDLE]
        cells.append([f"`{recipe}`", by_hand, *ratios, Ratio(*row["control"])])
    lines += [
        *table(("recipe", "by hand", *heads), cells),
        "",
        "The noise of the machine limits these ratios. Two other quantities are more exact. *Tensors* is the sum of "
        "the bytes that an iteration requests from torch's allocator, gankit's over the hand-written loop's: it shows "
        "large tensors that the hand-written loop does not make. The other operations of gankit work on values and "
        "labels; `tests/test_costs.py` counts them. The remaining columns are measured on one thread, in float32, with "
        "networks so small that little but the cost of the loops is left: the milliseconds that gankit adds to an "
        "iteration, with quartiles, and their share of an iteration of the first table.",
        "",
    ]
    cells = []
    for recipe, row in rows.items():
        gankit, by_hand = row["megabytes"][name_of(0)], row["megabytes"]["hand"]
        tensors = f"{gankit:.1f} / {by_hand:.1f} MB = {gankit / by_hand:.5f}"
        added = [f"{Ratio(*row['added'][name])} ms, {share(row, name):.2%}" for name in map(name_of, IDLE)]
        cells.append([f"`{recipe}`", tensors, *added, f"{Ratio(*row['added']['control'])} ms"])
    return "\n".join([*lines, *table(("recipe", "tensors", *heads), cells), "", verdict(rows)]) + "\n"


def share(row: Result, name: str) -> float:
    """Return the time that gankit adds, as a share of the hand-written iteration."""
    return row["added"][name][0] / row["milliseconds"]


def verdict(rows: Result) -> str:
    """Return whether the target is met, and the measurements that are not valid."""
    valid = [row for row in rows.values() if row["invalid"] is None]
    medians = [median for row in valid for median, _, _ in row["ratios"].values()]
    added = 1 + max(share(row, name) for row in rows.values() for name in map(name_of, IDLE))

    def met(ratio: float) -> str:
        return "met" if ratio <= TARGET else "missed"

    text = f"The target is a ratio of at most {TARGET}. By the time that gankit adds, the highest is {added:.4f}: "
    text += f"{met(added)}."
    if medians:
        text += f" The highest of the valid medians is {max(medians):.3f}: {met(max(medians))}."
    for recipe, row in rows.items():
        if row["invalid"] is not None:
            text += f" The ratios of `{recipe}` are not valid: {row['invalid']}."
    return text


if __name__ == "__main__":
    command_line(__doc__, measure, section)
