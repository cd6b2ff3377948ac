"""gankit's iteration against the shortest hand-written loop of the same networks, terms and data.

    python benchmarks/loop.py

For three recipes, with 0, 5 and 15 tricks more that have a hand in everything and change nothing. Both loops end with
the same weights (tests/test_by_hand.py). Two copies of one loop may differ by half a percent throughout, by where their
weights happen to lie in memory, so there are two of each. The control is one hand-written loop against the other.
"""

from __future__ import annotations

from by_hand import BY_HAND
from timing import Found, Ratio, command_line, interleaved, machine
from workloads import TINY, game_of, iteration_of

IDLE = (0, 5, 15)
"""Tricks that do nothing, beside the recipe's own."""

ROUNDS = {"dcgan_mnist": 80, "wgan_gp_mnist": 40, "igan_vn_mnist": 40}
COPIES = 2

TARGET = 1.01


def measure(quick: bool) -> Found:
    found: Found = {"machine": machine(), "recipes": {}}
    for recipe, by_hand in BY_HAND.items():
        overrides = TINY if quick else []
        loops = {}
        for copy in range(COPIES):
            games = {name_of(idle): game_of(recipe, overrides, idle) for idle in IDLE}
            plain = games[name_of(0)]
            loops |= {f"{name} {copy}": iteration_of(game) for name, game in games.items()}
            loops[f"hand {copy}"] = by_hand(plain)
        each = interleaved(loops, 2 if quick else ROUNDS[recipe])
        rounds = each.together({name: [f"{name} {copy}" for copy in range(COPIES)] for name in (*games, "hand")})
        control = each.ratio("hand 0", "hand 1")
        found["recipes"][recipe] = {
            "rounds": len(rounds.wall["hand"]),
            "copies": COPIES,
            "batch": plain.recipe.train.batch_size,
            "precision": "bf16" if plain.bf16 else "fp32",
            "milliseconds": each.milliseconds("hand 0"),
            "ratios": {name: rounds.ratio(name, "hand") for name in games},
            "ratios by the processor's clock": {name: rounds.ratio(name, "hand", "cpu") for name in games},
            "control": control,
            "busy": rounds.busy,
            "trouble": each.trouble(control),
        }
    return found


def name_of(idle: int) -> str:
    return f"gankit, {idle}"


def section(found: Found) -> str:
    lines = [
        "## What the loop costs",
        "",
        "An iteration of gankit over one of the shortest hand-written loop of the same networks, terms and data "
        "(`benchmarks/by_hand.py`), which ends with the same weights: the median of the ratios within rounds in which "
        "all loops take their turn, and the quartiles. *+ 5* and *+ 15* are tricks that have a hand in all that "
        "happens in an iteration and change nothing. Of every loop there are two copies, timed together, since where "
        "weights happen to lie in memory makes copies differ; *control* is one hand-written copy against the other. On "
        f"{found['machine']}; random images of MNIST's size.",
        "",
        "| recipe | by hand | gankit | + 5 tricks | + 15 tricks | control |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for recipe, row in found["recipes"].items():
        by_hand = f"{row['milliseconds']:.0f} ms ({row['precision']}, batch of {row['batch']}, {row['rounds']} rounds)"
        ratios = [str(Ratio(*row["ratios"][name_of(idle)])) for idle in IDLE]
        lines.append(f"| `{recipe}` | {by_hand} | {' | '.join(ratios)} | {Ratio(*row['control'])} |")
    lines += ["", verdict(found)]
    return "\n".join(lines) + "\n"


def verdict(found: Found) -> str:
    """Whether the target is met, and which measurements do not count."""
    rows = found["recipes"]
    missed = [f"`{recipe}`" for recipe, row in rows.items() if max(r[0] for r in row["ratios"].values()) > TARGET]
    said = f"The target, {TARGET} at most, is " + (f"missed by {', '.join(missed)}." if missed else "met by all.")
    for recipe, row in rows.items():
        if row["trouble"] is not None:
            said += f" The measurement of `{recipe}` does not count: {row['trouble']}."
    return said


if __name__ == "__main__":
    command_line(__doc__, measure, section)
