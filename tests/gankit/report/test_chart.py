"""Line charts: the SVG shows the points at the positions that the tick labels say."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit.report.chart import Axis, Chart, Line, downsample, padded_range, points_per_line, tick_labels, tick_step
from gankit.report.page import templates

POINT = re.compile(r"([ML])(-?[\d.]+),(-?[\d.]+)")


def read(title, *lines):
    """Return the (position, label) pairs of the ticks by axis, and the points of each path."""
    svg = templates().get_template("macros.html.jinja").module.line_chart(Chart(title, lines))
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == title
    ticks = {"x": [], "y": []}
    for text in root.iter("text"):
        axis = text.get("class").split()[-1]
        if text.text != "iteration":
            ticks[axis].append((float(text.get(axis)), float(text.text.replace(",", ""))))
    return ticks, [POINT.findall(path.get("d")) for path in root.iter("path")]


def value_at(position, ticks):
    (a, low), (b, high) = ticks[0], ticks[-1]
    return low + (position - a) / (b - a) * (high - low)


def test_points_lie_where_the_ticks_say():
    points = [(30, 0.7), (60, 1.9), (90, -0.4), (120, 0.0)]
    ticks, paths = read('a "title" <b>', Line("real", points, 0), Line("fake", [(30, 1.0), (120, 2.0)], 1))
    assert len(paths) == 2
    for (_, x, y), (iteration, value) in zip(paths[0], points, strict=True):
        assert value_at(float(x), ticks["x"]) == pytest.approx(iteration, abs=0.1)
        assert value_at(float(y), ticks["y"]) == pytest.approx(value, abs=0.01)
    assert [command for command, _, _ in paths[0]] == ["M", "L", "L", "L"]


def test_large_ranges_are_logarithmic():
    points = [(0, 1e-3), (10, 1.0), (20, 50.0)]
    ticks, (path,) = read("G", Line("x", points, 0))
    assert [value for _, value in ticks["y"]] == [0.001, 0.01, 0.1, 1, 10]
    logs = [(at, math.log10(value)) for at, value in ticks["y"]]
    for (_, _, y), (_, value) in zip(path, points, strict=True):
        assert value_at(float(y), logs) == pytest.approx(math.log10(value), abs=0.01)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(0, 10**7), st.floats(-1e12, 1e12), min_size=1, max_size=30))
def test_points_lie_within_the_plot_area(curve):
    points = sorted(curve.items())
    _, (path,) = read("any", Line("x", points, 0))
    x, y = Chart("any", [Line("x", points, 0)]).axes
    assert len(path) == len(points)
    for _, at_x, at_y in path:
        assert x.start - 0.01 <= float(at_x) <= x.end + 0.01
        assert y.end - 0.01 <= float(at_y) <= y.start + 0.01


def test_a_line_is_interrupted_where_a_value_is_not_finite():
    _, (path,) = read("x", Line("x", [(1, 1.0), (2, math.nan), (3, 2.0), (4, 3.0), (5, math.inf)], 0))
    assert [command for command, _, _ in path] == ["M", "M", "L"]
    _, (empty,) = read("x", Line("x", [(1, math.nan)], 0))
    assert empty == []


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_few_and_have_different_labels(low, width):
    axis = Axis(low, low + width, 0, 100)
    if axis.high - axis.low < 1e-9 * max(abs(axis.low), 1):
        return
    ticks = axis.ticks()
    step = tick_step(axis.low, axis.high)
    assert f"{step:.0e}"[0] in "125"
    assert 2 <= len(ticks) <= 6
    assert len(set(tick_labels(ticks))) == len(ticks)


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"]),
        ([0.0, 200.0, 1000.0], ["0", "200", "1,000"]),
        ([0.0, 2e-5, 4e-5], ["0e+00", "2e-05", "4e-05"]),
        ([-0.2, -0.0, 0.2], ["-0.2", "0.0", "0.2"]),
        ([1e6, 1.5e6], ["1.0e+06", "1.5e+06"]),
    ],
)
def test_tick_labels_have_as_few_digits_as_possible(ticks, labels):
    assert tick_labels(ticks) == labels


@pytest.mark.parametrize(
    ("ends", "padded"),
    [
        *[((0.2, 1), (0, 1.04)), ((5, 6), (4.95, 6.05)), ((3, 3), (0, 6)), ((-3, -3), (-6, 0)), ((0, 0), (-1, 1))],
        ((0, 5e-324), (-1, 1)),
    ],
)
def test_padded_range(ends, padded):
    assert padded_range(*ends) == pytest.approx(padded)


def test_downsampling_keeps_every_spike():
    points = [(i, 100.0 if i == 3217 else -100.0 if i == 77 else math.sin(i)) for i in range(10_000)]
    sampled = downsample(points, 100)
    assert len(sampled) <= 100
    assert (3217, 100.0) in sampled
    assert (77, -100.0) in sampled
    assert sampled == sorted(sampled)
    assert downsample(points[:100], 100) == points[:100]


def test_lines_share_the_points_of_a_chart():
    assert [points_per_line(lines) for lines in (1, 5, 8, 80, 1000)] == [800, 800, 500, 50, 50]
    points = [(i, math.sin(i)) for i in range(10_000)]
    _, paths = read("x", *(Line(str(n), points, n) for n in range(60)))
    assert len(paths) == 60
    assert sum(map(len, paths)) <= 4000
    assert all(len(path) > 50 for path in paths)
