"""gankit's iteration against the shortest hand-written loop of the same networks, terms and data.

    python benchmarks/loop.py

For three recipes, with 0, 5 and 15 tricks more that have a hand in everything and change nothing. Both loops end with
the same weights (tests/test_by_hand.py). The control is the hand-written loop against a copy of itself.
"""

from __future__ import annotations

from by_hand import BY_HAND
from timing import Found, Ratio, command_line, interleaved, machine
from workloads import game_of, iteration_of

IDLE = (0, 5, 15)
"""Tricks that do nothing, beside the recipe's own."""

ROUNDS = {"dcgan_mnist": 100, "wgan_gp_mnist": 60, "igan_vn_mnist": 60}

TARGET = 1.01


def measure(quick: bool) -> Found:
    found: Found = {"machine": machine(), "recipes": {}}
    for recipe, by_hand in BY_HAND.items():
        overrides = ["train.batch_size=20"] if quick else []
        games = {f"gankit, {idle}": game_of(recipe, overrides, idle) for idle in IDLE}
        plain = games["gankit, 0"]
        loops = {
            **{name: iteration_of(game) for name, game in games.items()},
            "hand": by_hand(plain),
            "control": by_hand(plain),
        }
        rounds = interleaved(loops, 2 if quick else ROUNDS[recipe])
        control = rounds.ratio("control", "hand")
        found["recipes"][recipe] = {
            "rounds": len(rounds.wall["hand"]),
            "batch": plain.recipe.train.batch_size,
            "precision": "bf16" if plain.bf16 else "fp32",
            "milliseconds": rounds.milliseconds("hand"),
            "ratios": {name: rounds.ratio(name, "hand") for name in games},
            "ratios by the processor's clock": {name: rounds.ratio(name, "hand", "cpu") for name in games},
            "control": control,
            "busy": rounds.busy,
            "trouble": rounds.trouble(control),
        }
    return found


def section(found: Found) -> str:
    lines = [
        "## What the loop costs",
        "",
        "An iteration of gankit over one of the shortest hand-written loop of the same networks, terms and data "
        "(`benchmarks/by_hand.py`), which ends with the same weights: the median of the ratios within rounds in which "
        "all loops take their turn, and the quartiles. *+ 5* and *+ 15* are tricks that have a hand in all that "
        "happens in an iteration and change nothing. *Control* is the hand-written loop against a copy of itself. On "
        f"{found['machine']}; random images of MNIST's size.",
        "",
        "| recipe | by hand | gankit | + 5 tricks | + 15 tricks | control |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for recipe, row in found["recipes"].items():
        by_hand = f"{row['milliseconds']:.0f} ms ({row['precision']}, batch of {row['batch']}, {row['rounds']} rounds)"
        ratios = [str(Ratio(*row["ratios"][f"gankit, {idle}"])) for idle in IDLE]
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
