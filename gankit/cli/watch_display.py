"""Progress, curves, metrics and warnings of a run as text, to watch a run in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gankit.errors import GankitError
from gankit.formatting import number
from gankit.images.io import read_image
from gankit.images.terminal import half_blocks, resize_to_fit
from gankit.report.comparison import format_warning, merge_warnings, metric_headings
from gankit.report.run_record import Points, RunRecord
from gankit.report.watched_run import total

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*%#"

MAX_WARNINGS = 3
FIXED_LINES = 4  # lines for the name, the progress, the bar and the prompt below the display
MIN_CURVE, MAX_CURVE = 8, 60  # width of a curve, in characters
MAX_NAME = 30  # maximum width of the name of a curve
GAP = 2  # number of spaces between columns


def sparkline(points: Points, width: int, bars: str = BARS) -> str:
    """Return a curve as text of at most `width` characters. The heights are those between its minimum and maximum.

    Each character shows the mean of the points in one interval of iterations. NaN and infinite values, and intervals
    without points, are shown as spaces.
    """
    if not points:
        return ""
    first, last = points[0][0], points[-1][0]
    width = min(width, len(points))
    sums, counts = [0.0] * width, [0] * width
    for iteration, value in points:
        if math.isfinite(value):
            column = min(width - 1, (iteration - first) * width // max(1, last - first))
            sums[column] += value
            counts[column] += 1
    means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if mean is None else bars[round((mean - low) * scale)] for mean in means)


def curves_of(run: RunRecord) -> list[tuple[str, Points]]:
    """Return the curves of a run with their names: losses, gradient norms, metrics, and values of plugins."""
    headings = metric_headings(list(run.metrics))
    return [
        *((f"{player}: {term}", points) for (player, term), points in run.losses.items()),
        *((f"{player}: gradient norm", points) for player, points in run.gradient_norms.items()),
        *((headings[metric], points) for metric, points in run.metrics.items()),
        *run.plugin_values.items(),
    ]


def watch_display(run: RunRecord, progress: str, console: Console, grid: bool) -> RenderableType:
    """Return the display of a run. It fits into the console.

    Args:
        run: contents of the run directory.
        progress: text about the progress of the run.
        console: terminal, whose size and encoding determine the display.
        grid: True to draw the newest sample grid below the curves, if there is room.
    """
    warnings = [_line(console, f"warning: {sentence}", "yellow") for sentence in _newest_warnings(run)]
    curves = curves_of(run)
    room = max(1, console.height - FIXED_LINES - len(warnings))
    shown = curves if len(curves) <= room else curves[: room - 1]
    bar = Table.grid(expand=True)
    bar.add_row(ProgressBar(total=max(1, total(run)), completed=run.ending.iteration))
    lines: list[RenderableType] = [
        _line(console, f"{run.name}  {run.path}", "bold"),
        _line(console, progress),
        bar,
        *curve_lines(shown, console),
    ]
    if len(shown) < len(curves):
        lines.append(_line(console, f"and {len(curves) - len(shown)} more; a higher terminal shows them", "dim"))
    rows_left = room - len(curves)
    if grid and rows_left > 1 and (picture := _newest_grid(run, console, rows_left)) is not None:
        lines.append(picture)
    return Group(*lines, *warnings)


def curve_lines(curves: Sequence[tuple[str, Points]], console: Console) -> list[Text]:
    """Return a line of text for each curve: its name, a sparkline, its newest value, its minimum and maximum.

    In a narrow console, the minimum and the maximum are left out.
    """
    ranges = []
    for _, points in curves:
        values = [value for _, value in points if math.isfinite(value)]
        ranges.append(f"{number(min(values))} to {number(max(values))}" if values else "")
    newest = [number(points[-1][1]) for _, points in curves]
    name_width = min(MAX_NAME, max((len(name) for name, _ in curves), default=0))
    newest_width = max(map(len, newest), default=0)
    width = console.width - name_width - newest_width - 2 * GAP
    beside_range = width - GAP - max(map(len, ranges), default=0)
    if beside_range >= MIN_CURVE:
        width = beside_range
    else:
        ranges = [""] * len(ranges)
    bars = ASCII_BARS if console.options.ascii_only else BARS
    width = max(MIN_CURVE, min(MAX_CURVE, width))
    lines = []
    for (name, points), value, between in zip(curves, newest, ranges, strict=True):
        line = _line(console, f"{name[:name_width]:{name_width + GAP}}", "cyan")
        line.append(f"{sparkline(points, width, bars):{width + GAP}}{value:>{newest_width}}", "default")
        lines.append(line.append(" " * GAP + between, "dim") if between else line)
    return lines


def _line(console: Console, text: str, style: str = "") -> Text:
    """Return one line of text, which is cut off at the width of the console."""
    # The ellipsis is not an ASCII character.
    return Text(text, style, no_wrap=True, overflow="crop" if console.options.ascii_only else "ellipsis")


def _newest_warnings(run: RunRecord) -> list[str]:
    """Return the newest warnings of a run."""
    return [*(format_warning(warning) for warning in merge_warnings(run)), *reversed(run.rollbacks)][:MAX_WARNINGS]


def _newest_grid(run: RunRecord, console: Console, rows: int) -> Text | None:
    """Return the newest sample grid as coloured text. Return None without a readable grid or without colours."""
    if not run.grids or console.color_system is None or console.no_color or console.options.ascii_only:
        return None
    try:
        image = read_image(run.grids[max(run.grids)])
    except GankitError:  # A rollback may have deleted the file.
        return None
    return half_blocks(resize_to_fit(image, console.width, rows))
