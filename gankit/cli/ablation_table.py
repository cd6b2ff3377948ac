"""What a study says, as a table: in the terminal, and as Markdown."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from gankit.ablation.comparison import Cost, Row, StudyComparison
from gankit.ablation.statistics import CONFIDENCE, Effect
from gankit.formatting import number, plural

COLUMNS = ("trick", "metric", "without", "effect", "95% interval", "seen", "cost")
RIGHT = ("without", "effect", "95% interval", "cost")

FEW_SEEDS = 5
"""Of fewer, the interval says little."""


def cells(comparison: StudyComparison) -> list[tuple[str, ...]]:
    """A row for each trick and measure; the cost stands in a trick's first row."""
    costs = {cost.trick: cost for cost in comparison.costs}
    rows: list[tuple[str, ...]] = []
    for cost in comparison.costs:
        of_trick = [row for row in comparison.rows if row.trick == cost.trick]
        for position, row in enumerate(of_trick):
            first = position == 0
            rows.append(
                (
                    row.trick if first else "",
                    row.metric,
                    number(row.without),
                    signed(row.effect.mean),
                    interval(row.effect),
                    seen(row, len(comparison.seeds)),
                    cost_in_words(costs[row.trick]) if first else "",
                )
            )
        if not of_trick:
            rows.append((cost.trick, "-", "-", "-", "-", "nothing to compare", cost_in_words(cost)))
    return rows


def seen(row: Row, seeds: int) -> str:
    """`higher`, `lower, of 4 of 5 seeds`, `higher, of those that held: 2 of 5 seeds`."""
    if row.effect.pairs == seeds:
        return row.verdict
    held = "those that held: " if row.failed else ""
    return f"{row.verdict}, of {held}{row.effect.pairs} of {plural(seeds, 'seed')}"


def signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def interval(effect: Effect) -> str:
    """`-0.120 to +0.340`; a dash where there is none."""
    if effect.low is None or effect.high is None:
        return "-"
    return f"{signed(effect.low)} to {signed(effect.high)}"


def cost_in_words(cost: Cost) -> str:
    """`1.52 (1.49 to 1.58)`: times as long an iteration."""
    if cost.ratio is None:
        return "-"
    ratio = cost.ratio
    spread = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.mean:.2f}{spread}"


def notes(comparison: StudyComparison) -> list[str]:
    """What must be known to read the table."""
    seeds = plural(len(comparison.seeds), "seed")
    lines = [
        f"effect: the measure with the trick less without it, the mean over {seeds}, paired. Whether higher is better, "
        "the measure says. cost: the time of an iteration with the trick over without; runs side by side disturb it."
    ]
    if len(comparison.seeds) == 1:
        lines.append("One seed gives no interval: what is seen may be luck. --seeds 5 goes on from here.")
    else:
        lines.append(
            f"interval: Student's, {CONFIDENCE:.0%}, which takes the differences for normal; 'no effect seen' where it "
            "spans zero, which is not the same as none."
        )
    if 1 < len(comparison.seeds) < FEW_SEEDS:
        lines.append(
            f"{seeds} make intervals wide, wider at times than the measure goes; --seeds {FEW_SEEDS} goes on from here."
        )
    if any(row.verdict == "same in all" for row in comparison.rows):
        lines.append("same in all: every seed shows the same difference, so there is no spread to make an interval of.")
    if comparison.comparisons > 1:
        chance = 1 - CONFIDENCE
        lines.append(
            f"{comparison.comparisons} comparisons: of so many, about {comparison.comparisons * chance:.1f} would "
            "leave zero out by chance alone. A '?' marks what Holm's correction for that does not let stand."
        )
    total = len(comparison.seeds)
    lines += [
        f"{name}: {len(some)} of {total} broke down ({which(some)}); they are not compared."
        for name, some in comparison.failed.items()
    ]
    lines += [
        f"{name}: {len(some)} of {total} were ended by a plugin ({which(some)})."
        for name, some in comparison.ended_early.items()
    ]
    lines += [
        f"{trick}: of {which(some)} the two runs are of different lengths, a plugin having ended one; both are "
        "compared as they ended."
        for trick, some in comparison.unequal.items()
    ]
    lines += [
        f"{one.metric}: {one.why} in {len(one.seeds)} of {total} runs of {one.variant} ({which(one.seeds)}), which "
        "are not compared in it."
        for one in comparison.left_out
    ]
    if comparison.ended < comparison.runs:
        lines.append(f"Not finished: {comparison.ended} of {comparison.runs} runs are over.")
    return lines


def which(seeds: list[int]) -> str:
    """`seed 1`, `seeds 0, 3`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def drawn(comparison: StudyComparison) -> Table:
    """For the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in RIGHT else "left", overflow="fold")
    for row in cells(comparison):
        faint = "dim" if row[5].startswith(("no effect seen", "no interval")) else ""
        table.add_row(
            *(
                Text(cell, faint if column not in ("trick", "cost") else "")
                for column, cell in zip(COLUMNS, row, strict=True)
            )
        )
    return table


def markdown(comparison: StudyComparison, title: str) -> str:
    """The table and its notes."""
    lines = [f"# {title}", "", f"| {' | '.join(COLUMNS)} |"]
    lines.append(f"| {' | '.join('---:' if name in RIGHT else '---' for name in COLUMNS)} |")
    lines += [f"| {' | '.join(row)} |" for row in cells(comparison)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(comparison))]) + "\n"
