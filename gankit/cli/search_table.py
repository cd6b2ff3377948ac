"""Table and picture of the trials of a search: for the terminal, as Markdown and as PNG."""

from collections.abc import Sequence

from PIL import Image
from rich import box
from rich.table import Table
from rich.text import Text

from gankit.ablation.search import Search
from gankit.ablation.search_results import TrialResult, best_result, format_value
from gankit.ablation.search_space import Choices, Variation
from gankit.formatting import brief
from gankit.report.scatter import Kind, Mark, Panel, category_axis, number_axis, scatter_picture, spread

LONG_REASON = 100  # maximum number of characters of a reason in the terminal


def columns(search: Search) -> list[str]:
    """Return the headings of the table."""
    keys = [variation.key for variation in search.settings.space]
    return ["trial", *keys, search.settings.metric, "iterations", "state"]


def cells(result: TrialResult, longest: int | None = None) -> list[str]:
    """Return a row of the table as text. `longest` is the maximum number of characters of a reason."""
    reason = result.reason if result.state == "failed" or (result.state == "complete" and result.reason) else None
    if reason is not None and longest is not None and len(reason) > longest:
        reason = f"{reason[: longest - 1]}…"
    state = result.state if reason is None else f"{result.state}: {reason}"
    metric = "-" if result.metric is None else brief(result.metric)
    return [str(result.number), *map(format_value, result.values.values()), metric, str(result.iterations), state]


def terminal_table(search: Search, results: Sequence[TrialResult]) -> Table:
    """Return the trials as a `rich` table for the terminal."""
    headings = columns(search)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in headings:
        table.add_column(name, justify="left" if name == "state" else "right", overflow="fold")
    for result in results:
        style = "" if result.state == "complete" else "dim"
        table.add_row(*(Text(cell, style) for cell in cells(result, LONG_REASON)))
    return table


def markdown(search: Search, results: Sequence[TrialResult]) -> str:
    """Return the trials as a Markdown table with a title."""
    settings = search.settings
    lines = [f"# {settings.base.name}: trials by {settings.metric} ({settings.better} is better)", ""]
    headings = columns(search)
    lines.append(f"| {' | '.join(headings)} |")
    lines.append(f"|{'|'.join(' --- ' if name == 'state' else ' ---: ' for name in headings)}|")
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in cells(result))} |" for result in results]
    return "\n".join(lines) + "\n"


def picture(search: Search, results: Sequence[TrialResult]) -> Image.Image:
    """Draw the metric of the trials against each varied setting."""
    ended = [result for result in results if result.state != "not finished"]
    panels = [_panel(variation, ended) for variation in search.settings.space]
    return scatter_picture(panels, f"{search.settings.metric} ({search.settings.better} is better)")


def _panel(variation: Variation, results: Sequence[TrialResult]) -> Panel:
    if isinstance(variation, Choices):
        names = list(variation.tables)
        axis, labels = category_axis(names)
    else:
        axis, labels = number_axis(variation.low, variation.high, variation.log)
    best, marks = best_result(results), []
    for result in results:
        value = result.values[variation.key]
        x = names.index(value) + spread(result.number) if isinstance(value, str) else value
        kind: Kind = "best" if result is best else "failed" if result.state == "failed" else "complete"
        kind = "pruned" if result.state == "pruned" else kind
        marks.append(Mark(x, result.metric, kind))
    return Panel(variation.key, axis, labels, marks)
