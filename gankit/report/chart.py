"""Curves over iterations, as SVG that stands in a page: axes, ticks, lines told apart by colour and by dashes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from gankit.report.run_record import Points

WIDTH, HEIGHT = 460, 260
"""Of the drawing, in its own units. Narrow, so that words can still be read where it is shown on a phone."""

LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 38
"""Around the field of the curves."""

MOST_POINTS = 800
"""Of a line with more, so many are drawn: of every stretch the lowest and the highest, so that no spike is lost."""

MOST_IN_ALL = 4000
"""Points of a chart, which its lines share."""

FEWEST_POINTS = 50
"""Of each line, however many there are."""

DOTTED_UP_TO = 25
"""Points of a line that are few are marked one by one."""

STYLES = 8
"""Of lines; a ninth line looks like the first one."""

DECADES = 3
"""Positive values that reach over more powers of ten are drawn to a logarithmic scale."""

LOGARITHMIC = "To a logarithmic scale."


@dataclass(frozen=True)
class Line:
    """A curve with a name. Lines of one style belong together."""

    name: str
    points: Points
    style: int


@dataclass(frozen=True)
class Axis:
    """From values to places along one side of the field.

    Args:
        low, high: the values at the ends.
        start, end: where these lie.
        logarithmic: equal factors are equally far.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first) / 5))
            return [10.0**power for power in range(first, last + 1, every)]
        step = round_step(self.low, self.high)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def named_ticks(self) -> list[tuple[float, str]]:
        ticks = self.ticks()
        words = [f"{tick:g}" for tick in ticks] if self.logarithmic else ticks_in_words(ticks)
        return list(zip(ticks, words, strict=True))


def round_step(low: float, high: float, most: int = 5) -> float:
    """1, 2 or 5 times a power of ten, so that no more than so many steps lie between two values."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """Of many points the lowest and the highest of every stretch, in their order; of fewer than `most`, all."""
    if len(points) <= most:
        return points
    stretches, kept = most // 2, set[int]()
    for stretch in range(stretches):
        places = range(stretch * len(points) // stretches, (stretch + 1) * len(points) // stretches)
        kept |= {min(places, key=lambda i: points[i][1]), max(places, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def points_of_each(lines: int) -> int:
    """Up to how many points each line of a chart of so many is drawn with."""
    return max(FEWEST_POINTS, min(MOST_POINTS, MOST_IN_ALL // lines))


def finite(points: Points) -> Points:
    return [(x, y) for x, y in points if math.isfinite(y)]


def axes(lines: Sequence[Line]) -> tuple[Axis, Axis]:
    """Axes that hold every finite point: iterations to the right, values upwards."""
    points = [point for line in lines for point in finite(line.points)]
    xs, ys = [x for x, _ in points] or [0], [y for _, y in points] or [0.0]
    logarithmic = min(ys) > 0 and max(ys) / min(ys) > 10.0**DECADES
    low, high = (min(ys), max(ys)) if logarithmic else padded(min(ys), max(ys))
    first, last = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)
    return Axis(first, last, LEFT, WIDTH - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic)


def padded(low: float, high: float) -> tuple[float, float]:
    """Some room on either side, and 0 on the axis where it is near, or where there is one value alone."""
    if low == high:
        return (min(0.0, 2 * low), max(0.0, 2 * high)) if low else (-1.0, 1.0)
    room = (high - low) * 0.05
    if 0 <= low <= (high - low) / 2:
        return (0.0, high + room)
    return (low - room, high + room)


def path_of(line: Line, x: Axis, y: Axis) -> str:
    """The line as the data of an SVG path; where a value is no number, it is interrupted."""
    parts, pen = [], "M"
    for iteration, value in line.points:
        if not math.isfinite(value):
            pen = "M"
            continue
        parts.append(f"{pen}{x.place(iteration):.2f},{y.place(value):.2f}")
        pen = "L"
    return " ".join(parts)


def ticks_in_words(ticks: Sequence[float]) -> list[str]:
    """As few digits as tell them apart: `0`, `0.5`, `1`; `1e-05`, `2e-05`."""
    largest = max((abs(tick) for tick in ticks), default=0.0)
    form = "{:,.{}f}" if largest == 0 or 1e-3 <= largest < 1e6 else "{:.{}e}"
    exact = [f"{tick:.12g}" for tick in ticks]
    for digits in range(12):
        words = [form.format(tick, digits) for tick in ticks]
        if all(float(word.replace(",", "")) == float(tick) for word, tick in zip(words, exact, strict=True)):
            return [word.lstrip("-") if not float(word.replace(",", "")) else word for word in words]
    return exact


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """The curves as one `<svg>`, whose title a screen reader says."""
    x, y = axes(lines)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" '
        f'data-left="{x.start}" data-right="{x.end}" data-first="{x.low}" data-last="{x.high}">'
    ]
    for tick, words in y.named_ticks():
        at = f"{y.place(tick):.2f}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick y" x="{LEFT - 10}" y="{at}" dy="0.35em">{words}</text>')
    for tick, words in x.named_ticks():
        at = f"{x.place(tick):.2f}"
        parts.append(f'<line class="rule" x1="{at}" x2="{at}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}"/>')
        parts.append(f'<text class="tick x" x="{at}" y="{HEIGHT - BOTTOM + 18}">{words}</text>')
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick x" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}">iteration</text>'
    )
    for line in lines:
        drawn = Line(line.name, thinned(line.points, points_of_each(len(lines))), line.style)
        parts.append(f'<path class="line s{line.style % STYLES}" d="{path_of(drawn, x, y)}"/>')
        if len(drawn.points) <= DOTTED_UP_TO:
            parts += [
                f'<circle class="s{line.style % STYLES}" cx="{x.place(i):.2f}" cy="{y.place(v):.2f}" r="3"/>'
                for i, v in finite(drawn.points)
            ]
    parts.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="{LEFT}" x2="{LEFT}" hidden=""/></svg>')
    return "\n".join(parts)
