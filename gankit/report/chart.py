"""Line charts over iterations: axes, ticks and points. A jinja2 template renders the charts as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gankit.report.run_record import Points

WIDTH, HEIGHT = 460, 260
"""Width and height of a chart, in SVG units.

A page scales each chart to the width of the screen. With a larger `WIDTH`, the text would be too small on a phone.
"""

LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 38  # margins around the plot area, in SVG units

MAX_POINTS_PER_LINE = 800
MIN_POINTS_PER_LINE = 50
MAX_POINTS = 4000  # maximum number of points of all lines together; exceeded if `MIN_POINTS_PER_LINE` requires it

MAX_MARKED_POINTS = 25  # a line with more points is drawn without circles at its points

NUM_STYLES = 8
"""Number of line styles. If a chart has more lines, several lines have the same style."""

LOG_SCALE_DECADES = 3
"""Threshold for a logarithmic y axis, in powers of ten.

The y axis is logarithmic if all values are positive and their range exceeds this number of powers of ten.
"""


@dataclass(frozen=True)
class Line:
    """Line of a chart. The number `style` determines its colour and dash pattern."""

    name: str
    points: Points
    style: int

    @property
    def css_class(self) -> str:
        """CSS class of the line, which sets its colour and dash pattern."""
        return f"s{self.style % NUM_STYLES}"


@dataclass(frozen=True)
class Axis:
    """Linear or logarithmic axis. It maps values in [low, high] to positions from `start` to `end`, in SVG units."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """Return the position of a value on the axis, in SVG units."""
        low, high, at = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return the values at which the axis has ticks: at most six round numbers."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first) / 5))
            return [10.0**power for power in range(first, last + 1, every)]
        step = tick_step(self.low, self.high)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def labelled_ticks(self) -> list[tuple[float, str]]:
        """Return a (position, label) pair for each tick, with the position in SVG units."""
        ticks = self.ticks()
        labels = [f"{tick:g}" for tick in ticks] if self.logarithmic else tick_labels(ticks)
        return [(self.position(tick), label) for tick, label in zip(ticks, labels, strict=True)]


@dataclass(frozen=True)
class Chart:
    """Line chart over iterations, with one or several lines, a title and a note."""

    title: str
    lines: Sequence[Line]
    note: str = ""

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """Axes of the chart: x (iterations) and y (values). Their ranges include every finite point of the lines."""
        points = [point for line in self.lines for point in finite(line.points)]
        xs, ys = [x for x, _ in points] or [0], [y for _, y in points] or [0.0]
        logarithmic = min(ys) > 0 and max(ys) / min(ys) > 10.0**LOG_SCALE_DECADES
        low, high = (min(ys), max(ys)) if logarithmic else padded_range(min(ys), max(ys))
        first, last = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)
        return Axis(first, last, LEFT, WIDTH - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic)

    @property
    def caption(self) -> str:
        """Caption of the chart: its note, and the text "Logarithmic scale." if the y axis is logarithmic."""
        return f"{self.note} Logarithmic scale.".strip() if self.axes[1].logarithmic else self.note

    @cached_property
    def sampled_lines(self) -> list[Line]:
        """Lines of the chart, downsampled to the points that are drawn."""
        most = points_per_line(len(self.lines))
        return [Line(line.name, downsample(line.points, most), line.style) for line in self.lines]

    def path(self, line: Line) -> str:
        """Return the attribute `d` of the SVG path for a line. The path has a gap at each NaN or infinite value."""
        x, y = self.axes
        parts, command = [], "M"
        for iteration, value in line.points:
            if not math.isfinite(value):
                command = "M"
                continue
            parts.append(f"{command}{x.position(iteration):.2f},{y.position(value):.2f}")
            command = "L"
        return " ".join(parts)

    def marks(self, line: Line) -> list[tuple[float, float]]:
        """Return the (x, y) positions of the circles at the points of a line.

        If the line has more than `MAX_MARKED_POINTS` points, return an empty list.
        """
        x, y = self.axes
        if len(line.points) > MAX_MARKED_POINTS:
            return []
        return [(x.position(iteration), y.position(value)) for iteration, value in finite(line.points)]

    def numbers(self) -> list[dict[str, list[Any]]]:
        """Return the coordinates of each line's drawn points as JSON values. NaN and infinite values become None."""
        lines = [line.points for line in self.sampled_lines]
        return [{"x": [x for x, _ in points], "y": [_rounded(y) for _, y in points]} for points in lines]


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def tick_step(low: float, high: float, most: int = 5) -> float:
    """Return the distance between two ticks: 1, 2 or 5 times a power of ten.

    The result is the smallest distance that divides the range from `low` to `high` into at most `most` intervals.
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def downsample(points: Points, most: int = MAX_POINTS_PER_LINE) -> Points:
    """Downsample a line to at most `most` points.

    Divide the points into buckets and keep the minimum and the maximum of each bucket, so that spikes stay visible.
    """
    if len(points) <= most:
        return points
    buckets, chosen = most // 2, set[int]()
    for bucket in range(buckets):
        indices = range(bucket * len(points) // buckets, (bucket + 1) * len(points) // buckets)
        chosen |= {min(indices, key=lambda i: points[i][1]), max(indices, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(chosen)]


def points_per_line(lines: int) -> int:
    """Return the maximum number of points of each line in a chart. `lines` is the number of lines in the chart."""
    return max(MIN_POINTS_PER_LINE, min(MAX_POINTS_PER_LINE, MAX_POINTS // lines))


def finite(points: Points) -> Points:
    """Return the points whose value is finite."""
    return [(x, y) for x, y in points if math.isfinite(y)]


def padded_range(low: float, high: float) -> tuple[float, float]:
    """Return the range of an axis for values from `low` to `high`, with margins of 5%.

    If `low` is between 0 and a third of `high`, the range starts at 0. If `low` and `high` are equal, the range
    includes 0.
    """
    if max(abs(low), abs(high)) < 1e-300:  # for smaller values, the distance between ticks would underflow to 0
        return (-1.0, 1.0)
    if low == high:
        return (min(0.0, 2 * low), max(0.0, 2 * high))
    margin = (high - low) * 0.05
    if 0 <= low <= (high - low) / 2:
        return (0.0, high + margin)
    return (low - margin, high + margin)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return the labels of ticks, such as `0.0` and `0.5`.

    All labels have the same number of decimals: the smallest number for which all labels are exact.
    """
    largest = max((abs(tick) for tick in ticks), default=0.0)
    form = "{:,.{}f}" if largest == 0 or 1e-3 <= largest < 1e6 else "{:.{}e}"
    exact = [f"{tick:.12g}" for tick in ticks]
    for digits in range(12):
        labels = [form.format(tick, digits) for tick in ticks]
        if all(float(label.replace(",", "")) == float(tick) for label, tick in zip(labels, exact, strict=True)):
            return [label.lstrip("-") if not float(label.replace(",", "")) else label for label in labels]
    return exact
