"""Line charts over iterations: axes, ticks and points. The template of the page renders them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gankit.report.run_record import Points

WIDTH, HEIGHT = 460, 260
"""Size of a chart in SVG units, narrow enough that the text can be read on a phone."""

LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 38  # margins around the plot area

MAX_POINTS_PER_LINE = 800
MIN_POINTS_PER_LINE = 50
MAX_POINTS = 4000  # points of a chart, shared by its lines as far as `MIN_POINTS_PER_LINE` allows

MAX_MARKED_POINTS = 25  # most points of a line whose points are marked with circles

NUM_STYLES = 8
"""Number of line styles. A ninth line looks like the first one."""

LOG_SCALE_DECADES = 3  # positive values that span more powers of ten are drawn on a logarithmic scale


@dataclass(frozen=True)
class Line:
    """A curve with a name and a number that selects its colour and dashes."""

    name: str
    points: Points
    style: int

    @property
    def css_class(self) -> str:
        """CSS class with the colour and the dashes."""
        return f"s{self.style % NUM_STYLES}"


@dataclass(frozen=True)
class Axis:
    """Linear or logarithmic map from the values `low` to `high` to the positions `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """Return the position of a value."""
        low, high, at = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return at most six round values."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first) / 5))
            return [10.0**power for power in range(first, last + 1, every)]
        step = tick_step(self.low, self.high)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def labelled_ticks(self) -> list[tuple[float, str]]:
        """Return the position and the label of each tick."""
        ticks = self.ticks()
        labels = [f"{tick:g}" for tick in ticks] if self.logarithmic else tick_labels(ticks)
        return [(self.position(tick), label) for tick, label in zip(ticks, labels, strict=True)]


@dataclass(frozen=True)
class Chart:
    """A chart of several lines."""

    title: str
    lines: Sequence[Line]
    note: str = ""

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """The x axis of the iterations and the y axis of the values. They contain every finite point."""
        points = [point for line in self.lines for point in finite(line.points)]
        xs, ys = [x for x, _ in points] or [0], [y for _, y in points] or [0.0]
        logarithmic = min(ys) > 0 and max(ys) / min(ys) > 10.0**LOG_SCALE_DECADES
        low, high = (min(ys), max(ys)) if logarithmic else padded_range(min(ys), max(ys))
        first, last = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)
        return Axis(first, last, LEFT, WIDTH - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic)

    @property
    def caption(self) -> str:
        """The note, and a note on a logarithmic scale."""
        return f"{self.note} Logarithmic scale.".strip() if self.axes[1].logarithmic else self.note

    @cached_property
    def sampled_lines(self) -> list[Line]:
        """The lines with the points that are drawn."""
        most = points_per_line(len(self.lines))
        return [Line(line.name, downsample(line.points, most), line.style) for line in self.lines]

    def path(self, line: Line) -> str:
        """Return the data of an SVG path, with a gap where a value is not finite."""
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
        """Return the positions of the points, or an empty list for a line with many points."""
        x, y = self.axes
        if len(line.points) > MAX_MARKED_POINTS:
            return []
        return [(x.position(iteration), y.position(value)) for iteration, value in finite(line.points)]

    def numbers(self) -> list[dict[str, list[Any]]]:
        """Return the drawn points of each line for the script of the page. NaN and infinity become None."""
        lines = [line.points for line in self.sampled_lines]
        return [{"x": [x for x, _ in points], "y": [_rounded(y) for _, y in points]} for points in lines]


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def tick_step(low: float, high: float, most: int = 5) -> float:
    """Return 1, 2 or 5 times a power of ten, with at most `most` steps from `low` to `high`."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def downsample(points: Points, most: int = MAX_POINTS_PER_LINE) -> Points:
    """Return at most `most` points: the minimum and the maximum of each bucket, so that no spike is lost."""
    if len(points) <= most:
        return points
    buckets, chosen = most // 2, set[int]()
    for bucket in range(buckets):
        indices = range(bucket * len(points) // buckets, (bucket + 1) * len(points) // buckets)
        chosen |= {min(indices, key=lambda i: points[i][1]), max(indices, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(chosen)]


def points_per_line(lines: int) -> int:
    """Return the largest number of points of each line in a chart of `lines` lines."""
    return max(MIN_POINTS_PER_LINE, min(MAX_POINTS_PER_LINE, MAX_POINTS // lines))


def finite(points: Points) -> Points:
    """Return the points whose value is finite."""
    return [(x, y) for x, y in points if math.isfinite(y)]


def padded_range(low: float, high: float) -> tuple[float, float]:
    """Return a range with a margin on both sides. It starts at 0 if 0 is near or if all values are equal."""
    if max(abs(low), abs(high)) < 1e-300:  # the distance between ticks would be rounded to 0
        return (-1.0, 1.0)
    if low == high:
        return (min(0.0, 2 * low), max(0.0, 2 * high))
    margin = (high - low) * 0.05
    if 0 <= low <= (high - low) / 2:
        return (0.0, high + margin)
    return (low - margin, high + margin)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return labels of equal form with as few digits as possible: `0.0`, `0.5`, `1.0`, or `1e-05`, `2e-05`."""
    largest = max((abs(tick) for tick in ticks), default=0.0)
    form = "{:,.{}f}" if largest == 0 or 1e-3 <= largest < 1e6 else "{:.{}e}"
    exact = [f"{tick:.12g}" for tick in ticks]
    for digits in range(12):
        labels = [form.format(tick, digits) for tick in ticks]
        if all(float(label.replace(",", "")) == float(tick) for label, tick in zip(labels, exact, strict=True)):
            return [label.lstrip("-") if not float(label.replace(",", "")) else label for label in labels]
    return exact
