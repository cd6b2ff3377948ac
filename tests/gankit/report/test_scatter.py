"""Scatter plots: positions and shapes of the marks in the picture."""

import pytest
from PIL import ImageColor

from gankit.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH
from gankit.report.scatter import (
    COLOURS,
    LEGEND,
    PAPER,
    SCALE,
    TITLE,
    Mark,
    Panel,
    category_axis,
    number_axis,
    scatter_picture,
    spread,
    y_axis,
)


def pixel(image, x, y):
    return image.getpixel((round(x * SCALE), round(y * SCALE)))


def near(colour, expected):
    return max(abs(a - b) for a, b in zip(colour, ImageColor.getrgb(expected), strict=True)) < 12


def test_marks_are_at_their_values():
    axis, labels = number_axis(1e-5, 1e-3, True)
    names, name_labels = category_axis(["hinge", "a" * 200])
    panels = [
        Panel("lr", axis, labels, [Mark(1e-4, 3.0, "best"), Mark(1e-5, 1.0, "complete"), Mark(1e-3, None, "failed")]),
        Panel("loss", names, name_labels, [Mark(0, 3.0, "best"), Mark(1, 2.0, "pruned")]),
        Panel("b" * 300, *number_axis(1, 2, False), [Mark(1.5, 2.0, "complete")]),
    ]
    image = scatter_picture(panels, "error")
    assert image.size == (2 * WIDTH * SCALE, (LEGEND + 2 * HEIGHT) * SCALE)
    y = y_axis([1.0, 2.0, 3.0])
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert near(pixel(image, middle, LEGEND + y.position(3)), COLOURS["best"])
    assert near(pixel(image, axis.position(1e-5), LEGEND + y.position(1)), COLOURS["complete"])
    assert near(pixel(image, axis.position(1e-3), LEGEND + TITLE + 2), COLOURS["failed"])
    assert near(pixel(image, WIDTH + names.position(0), LEGEND + y.position(3)), COLOURS["best"])
    # A pruned trial is a circle: paper inside, colour at the edge.
    at = WIDTH + names.position(1), LEGEND + y.position(2)
    assert near(pixel(image, *at), PAPER)
    assert near(pixel(image, at[0] - 2.9, at[1]), COLOURS["pruned"])
    assert near(pixel(image, middle, LEGEND + HEIGHT + y.position(2)), COLOURS["complete"])
    # The third panel is in a row of its own. The place beside it is empty.
    assert image.crop((WIDTH * SCALE, (LEGEND + HEIGHT) * SCALE, *image.size)).getcolors() == [
        (WIDTH * HEIGHT * SCALE**2, ImageColor.getrgb(PAPER))
    ]


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (1e-5, 1e-3, True, ["1e-05", "0.0001", "0.001"]),
        (2e-4, 5e-3, True, ["0.0002", "0.005"]),
        (0.0, 1.0, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (8, 512, True, ["10", "100"]),
    ],
)
def test_labels_of_number_axes(low, high, log, expected):
    axis, labels = number_axis(low, high, log)
    assert [label for _, label in labels] == expected
    assert all(LEFT < position < WIDTH - RIGHT for position, _ in labels)
    assert axis.position(low) < axis.position(high)


def test_a_wide_range_of_values_is_logarithmic_and_no_values_are_possible():
    assert y_axis([1.0, 1e4]).logarithmic
    assert not y_axis([1.0, 999.0]).logarithmic
    axis = y_axis([])
    assert axis.start == HEIGHT - BOTTOM
    assert scatter_picture([Panel("a", *number_axis(1, 2, False), [])], "error").size[0] == WIDTH * SCALE


def test_marks_of_a_category_are_spread():
    offsets = [spread(number) for number in range(20)]
    assert len(set(offsets)) == 20
    assert -0.2 <= min(offsets) < -0.1 < 0.1 < max(offsets) <= 0.2
