"""Scatter plots in one picture: a panel for each x axis, with the same y axis. Pillow draws them, without a browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from gankit.report.chart import BOTTOM, HEIGHT, LEFT, LOG_SCALE_DECADES, RIGHT, WIDTH, Axis, padded_range, tick_labels

Kind = Literal["best", "complete", "pruned", "failed"]

COLOURS: dict[Kind, str] = {"best": "#c2410c", "complete": "#1d6fb8", "pruned": "#8a8f98", "failed": "#b91c1c"}
"""Colour of each kind of mark. The kinds also differ in shape: a large dot, a dot, a circle and a cross."""

PAPER, INK, RULE = "#ffffff", "#33383f", "#e3e6ea"

COLUMNS = 2  # number of panels in a row
SCALE = 2  # number of pixels per unit of a chart
OVERSAMPLING = 2  # factor by which the picture is drawn larger and then reduced, for smooth edges

TITLE, LEGEND, FONT = 30, 30, 12  # heights of a panel's title and of the legend, and font size, in units of a chart


@dataclass(frozen=True)
class Mark:
    """Mark of a panel. A mark without a `y` is drawn at the upper end of the panel."""

    x: float
    y: float | None
    kind: Kind


@dataclass(frozen=True)
class Panel:
    """Scatter plot with a title. `labels` contains the (position, text) pairs of the x axis."""

    title: str
    x: Axis
    labels: Sequence[tuple[float, str]]
    marks: Sequence[Mark]


def number_axis(low: float, high: float, logarithmic: bool) -> tuple[Axis, list[tuple[float, str]]]:
    """Return an x axis for numbers from `low` to `high`, and its labels."""
    axis = Axis(low, high, LEFT + 10, WIDTH - RIGHT - 10, logarithmic)
    ticks = [tick for tick in axis.ticks() if low <= tick * (1 + 1e-9) and tick * (1 - 1e-9) <= high]
    if logarithmic:
        # Between two powers of ten, an axis has too few ticks, so its ends are labelled.
        ticks = ticks if len(ticks) > 1 else [low, high]
        return axis, [(axis.position(tick), f"{tick:g}") for tick in ticks]
    return axis, [(axis.position(tick), label) for tick, label in zip(ticks, tick_labels(ticks), strict=True)]


def category_axis(names: Sequence[str]) -> tuple[Axis, list[tuple[float, str]]]:
    """Return an x axis with the positions 0, 1, ... for the given names, and its labels."""
    axis = Axis(-0.5, len(names) - 0.5, LEFT, WIDTH - RIGHT)
    return axis, [(axis.position(number), name) for number, name in enumerate(names)]


def spread(number: int) -> float:
    """Return an offset in [-0.2, 0.2] for a mark of a category, so that marks with equal values stay visible."""
    return 0.4 * (number * (math.sqrt(5) - 1) / 2 % 1 - 0.5)


def y_axis(values: Sequence[float]) -> Axis:
    """Return the y axis for the given values. It is logarithmic if they range over more than three powers of ten."""
    values = values or [0.0]
    logarithmic = min(values) > 0 and max(values) / min(values) > 10.0**LOG_SCALE_DECADES
    low, high = (min(values), max(values)) if logarithmic else padded_range(min(values), max(values))
    return Axis(low, high, HEIGHT - BOTTOM, TITLE + 12, logarithmic)


def scatter_picture(panels: Sequence[Panel], title: str) -> Image.Image:
    """Draw panels with a common y axis, and above them a title and a legend.

    Args:
        panels: the scatter plots, drawn in rows of two.
        title: name of the y axis.
    """
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    zoom = SCALE * OVERSAMPLING
    size = (columns * WIDTH * zoom, (LEGEND + rows * HEIGHT) * zoom)
    image = Image.new("RGB", size, PAPER)
    y = y_axis([mark.y for panel in panels for mark in panel.marks if mark.y is not None])
    pen = _Pen(image, zoom)
    _draw_legend(pen, title + (", logarithmic scale" if y.logarithmic else ""), panels)
    for number, panel in enumerate(panels):
        left, top = number % columns * WIDTH, LEGEND + number // columns * HEIGHT
        _draw_panel(pen.moved(left, top), panel, y)
    return image.resize((size[0] // OVERSAMPLING, size[1] // OVERSAMPLING), Image.Resampling.LANCZOS)


class _Pen:
    """Pen that draws on an image in units of a chart, relative to a corner at (left, top)."""

    def __init__(self, image: Image.Image, zoom: int, left: float = 0, top: float = 0) -> None:
        self.image, self.zoom, self.left, self.top = image, zoom, left, top
        self.draw = ImageDraw.Draw(image)
        self.font = ImageFont.load_default(FONT * zoom)

    def moved(self, left: float, top: float) -> _Pen:
        return _Pen(self.image, self.zoom, left, top)

    def pixels(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        return [((self.left + x) * self.zoom, (self.top + y) * self.zoom) for x, y in points]

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1) -> None:
        self.draw.line(self.pixels(start, end), fill=colour, width=round(width * self.zoom))

    def text(self, at: tuple[float, float], text: str, anchor: str, room: float = math.inf) -> None:
        """Draw a text. If it is wider than `room`, its end is cut off."""
        while len(text) > 2 and self.length(text) > room:
            text = f"{text[:-2]}…"
        self.draw.text(self.pixels(at)[0], text, fill=INK, font=self.font, anchor=anchor)

    def length(self, text: str) -> float:
        return self.font.getlength(text) / self.zoom

    def mark(self, at: tuple[float, float], kind: Kind) -> None:
        x, y, colour = *at, COLOURS[kind]
        if kind == "failed":
            self.line((x - 3.5, y - 3.5), (x + 3.5, y + 3.5), colour, 1.5)
            self.line((x - 3.5, y + 3.5), (x + 3.5, y - 3.5), colour, 1.5)
            return
        radius = 5.5 if kind == "best" else 3.5
        fill = PAPER if kind == "pruned" else colour
        box = self.pixels((x - radius, y - radius), (x + radius, y + radius))
        self.draw.ellipse(box, fill=fill, outline=colour, width=round(1.5 * self.zoom))


def _draw_legend(pen: _Pen, title: str, panels: Sequence[Panel]) -> None:
    """Draw the name of the y axis, and a sample of each kind of mark that the panels contain."""
    used = {mark.kind for panel in panels for mark in panel.marks}
    x = LEFT - 10.0
    pen.text((x, LEGEND / 2), title, "lm")
    x += pen.length(title) + 26
    for kind in COLOURS:
        if kind in used:
            pen.mark((x, LEGEND / 2), kind)
            pen.text((x + 9, LEGEND / 2), kind, "lm")
            x += pen.length(kind) + 30


def _draw_panel(pen: _Pen, panel: Panel, y: Axis) -> None:
    for position, label in y.labelled_ticks():
        pen.line((LEFT, position), (WIDTH - RIGHT, position), RULE)
        pen.text((LEFT - 8, position), label, "rm")
    pen.line((LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM), INK)
    for position, label in panel.labels:
        pen.line((position, HEIGHT - BOTTOM), (position, HEIGHT - BOTTOM + 4), INK)
        pen.text((position, HEIGHT - BOTTOM + 7), label, "ma", (WIDTH - LEFT - RIGHT) / len(panel.labels) - 6)
    pen.text(((LEFT + WIDTH - RIGHT) / 2, TITLE / 2), panel.title, "mm", WIDTH - LEFT - RIGHT)
    order = list(COLOURS)
    for mark in sorted(panel.marks, key=lambda mark: -order.index(mark.kind)):
        pen.mark((panel.x.position(mark.x), TITLE + 2 if mark.y is None else y.position(mark.y)), mark.kind)
