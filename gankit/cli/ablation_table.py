"""Table with the effect of each trick in an ablation study, for the terminal and as Markdown."""

from rich import box
from rich.table import Table
from rich.text import Text

from gankit.ablation.comparison import Cost, Row, StudyComparison
from gankit.ablation.statistics import CONFIDENCE, Effect
from gankit.formatting import number, plural

COLUMNS = ("trick", "metric", "without", "effect", "95% interval", "seen", "cost")
RIGHT = ("without", "effect", "95% interval", "cost")

FEW_SEEDS = 5  # number of seeds below which the confidence intervals are too wide to be useful


def cells(comparison: StudyComparison) -> list[tuple[str, ...]]:
    """Return the cells of the table as text, with a row for each trick and metric.

    Only the first row of each trick contains the trick's name and cost.
    """
    rows: list[tuple[str, ...]] = []
    for cost in comparison.costs:
        trick, ratio = cost.trick, format_cost(cost)
        for row in (row for row in comparison.rows if row.trick == cost.trick):
            effect, verdict = row.effect, seen(row, len(comparison.seeds))
            values = (row.metric, number(row.without), signed(effect.mean), interval(effect), verdict)
            rows.append((trick, *values, ratio))
            trick = ratio = ""
        if trick:
            rows.append((trick, "-", "-", "-", "-", "nothing to compare", ratio))
    return rows


def seen(row: Row, seeds: int) -> str:
    """Return the verdict of a row as text, such as `lower`, or `lower, in 4 of 5 seeds` if a seed is missing."""
    if row.effect.pairs == seeds:
        return row.verdict
    others = "; others failed" if row.failed else ""
    return f"{row.verdict}, in {row.effect.pairs} of {plural(seeds, 'seed')}{others}"


def signed(value: float) -> str:
    """Return a number as text with its sign, such as `+0.340` or `-0.120`."""
    return f"{'+' if value > 0 else ''}{number(value)}"


def interval(effect: Effect) -> str:
    """Return the confidence interval of an effect as text: `-0.120 to +0.340`, or `-` if the effect has no interval."""
    if effect.low is None or effect.high is None:
        return "-"
    return f"{signed(effect.low)} to {signed(effect.high)}"


def format_cost(cost: Cost) -> str:
    """Return the ratio of the training times and its confidence interval as text, such as `1.52 (1.49 to 1.58)`."""
    if (ratio := cost.ratio) is None:
        return "-"
    spread = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.mean:.2f}{spread}"


def notes(comparison: StudyComparison) -> list[str]:
    """Return the notes below the table. The notes explain the columns and list the runs that are not compared."""
    count = plural(len(comparison.seeds), "seed")
    lines = [
        f"effect: the metric with the trick minus the metric without it, paired by seed, mean over {count}. Higher is "
        "better for some metrics, and lower for others. cost: time of an iteration with the trick divided by the time "
        "without it; runs at the same time disturb it."
    ]
    if len(comparison.seeds) == 1:
        lines.append("One seed gives no interval, so the effect may be chance; --seeds 5 trains more seeds.")
    else:
        lines.append(
            f"interval: {CONFIDENCE:.0%}, by Student's t for normally distributed differences. 'no effect seen': the "
            "interval contains zero, which does not prove that there is no effect."
        )
    if 1 < len(comparison.seeds) < FEW_SEEDS:
        lines.append(
            f"{count} give wide intervals, sometimes wider than the range of the metric; --seeds {FEW_SEEDS} trains "
            "more seeds."
        )
    if any(row.verdict == "same in all" for row in comparison.rows):
        lines.append("same in all: the difference is equal for all seeds, so an interval cannot be computed.")
    if comparison.comparisons > 1:
        chance = 1 - CONFIDENCE
        lines.append(
            f"{comparison.comparisons} comparisons: about {comparison.comparisons * chance:.1f} of their intervals "
            "would exclude zero by chance alone. A '?' marks effects that are not significant after Holm's correction."
        )
    total = len(comparison.seeds)
    lines += [
        f"{name}: {len(seeds)} of {total} failed ({which(seeds)}); they are not compared."
        for name, seeds in comparison.failed.items()
    ]
    lines += [
        f"{name}: {len(seeds)} of {total} were ended by a plugin ({which(seeds)})."
        for name, seeds in comparison.ended_early.items()
    ]
    lines += [
        f"{trick}: {which(seeds)}: the two runs have different lengths, because a plugin ended one; they are compared "
        "at their ends."
        for trick, seeds in comparison.unequal.items()
    ]
    lines += [
        f"{one.metric}: {one.why} in {len(one.seeds)} of {total} runs of {one.variant} ({which(one.seeds)}); this "
        "metric is not compared for them."
        for one in comparison.left_out
    ]
    if comparison.ended < comparison.runs:
        lines.append(f"Not finished: {comparison.ended} of {comparison.runs} runs are done.")
    return lines


def which(seeds: list[int]) -> str:
    """Return a list of seeds as text: `seed 1` or `seeds 0, 3`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def terminal_table(comparison: StudyComparison) -> Table:
    """Return the comparison of a study's variants as a `rich` table for the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in RIGHT else "left", overflow="fold")
    for row in cells(comparison):
        style = "dim" if row[5].startswith(("no effect seen", "no interval")) else ""
        table.add_row(Text(row[0]), *(Text(cell, style) for cell in row[1:-1]), Text(row[-1]))
    return table


def markdown(comparison: StudyComparison, title: str) -> str:
    """Return the table of a study and its notes as Markdown."""
    lines = [f"# {title}", "", f"| {' | '.join(COLUMNS)} |"]
    lines.append(f"| {' | '.join('---:' if name in RIGHT else '---' for name in COLUMNS)} |")
    lines += [f"| {' | '.join(row)} |" for row in cells(comparison)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(comparison))]) + "\n"
