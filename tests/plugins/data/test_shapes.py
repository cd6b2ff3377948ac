"""Shapes: geometry, antialiasing, random properties, colours."""

import colorsys
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gankit_plugins.data.shapes import DISTANCE, Shapes, Sketch, coverage, grey, hsv_to_rgb, paint

KINDS = tuple(DISTANCE)


def draw(labels, kinds, resolution, max_angle, generator):
    sketch = Sketch.random(labels, (0.5, 0.75), max_angle, generator)
    return paint(sketch, coverage(sketch, kinds, resolution))


def load(**settings):
    return Shapes(Shapes.Config(**settings)).load_data().load()


# Points (u right, v down) inside and outside of each shape, near its outline, by its geometry.
INSIDE = {
    "circle": [(0, 0), (0.6, 0.6), (0, -0.84)],
    "square": [(0, 0), (0.69, 0.69), (-0.69, 0.69)],
    "triangle": [(0, 0), (0, -0.97), (0.84, 0.49), (-0.84, 0.49)],
    "star": [(0, 0), (0, -0.97), (0.92, -0.3), (-0.92, -0.3), (0.57, 0.78), (0, 0.44)],
    "ring": [(0.65, 0), (0, -0.86), (0.31, 0.31)],
    "cross": [(0, 0), (0.91, 0.26), (0.26, -0.91), (-0.91, 0)],
    "crescent": [(-0.5, 0), (-0.89, 0), (0, 0.8)],
    "bar": [(0, 0), (0.94, 0.24), (-0.94, -0.24)],
}
OUTSIDE = {
    "circle": [(0.61, 0.61), (0, 0.86)],
    "square": [(0.71, 0), (0.68, 0.71)],
    "triangle": [(0, 0.51), (0.3, -0.6), (0, -1.01), (0.88, 0.49)],
    "star": [(0, -1.01), (0, 0.47), (0.3, -0.45), (0.98, 0)],
    "ring": [(0, 0), (0.42, 0), (0, 0.88)],
    "cross": [(0.93, 0), (0.28, 0.28), (0.5, -0.5)],
    "crescent": [(0.5, 0), (0, 0), (-0.91, 0)],
    "bar": [(0.96, 0), (0, 0.26)],
}


def at(kind, points):
    u, v = torch.tensor(points, dtype=torch.float64).unbind(1)
    return DISTANCE[kind](u, v)


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_negative_inside_and_positive_outside(kind):
    assert (at(kind, INSIDE[kind]) < 0).all()
    assert (at(kind, OUTSIDE[kind]) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_fit_in_the_unit_circle(kind):
    side = torch.linspace(-1.5, 1.5, 601, dtype=torch.float64)
    v, u = torch.meshgrid(side, side, indexing="ij")
    inside = DISTANCE[kind](u, v) < 0
    assert torch.hypot(u, v)[inside].max() <= 1 + 1e-9
    assert 0.15 < inside.double().sum() * 0.005**2 / math.pi < 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_lipschitz(kind):
    generator = torch.Generator().manual_seed(0)
    here, step = torch.randn(2, 5000, 2, generator=generator, dtype=torch.float64)
    there = here + 0.1 * step
    change = (DISTANCE[kind](*here.unbind(1)) - DISTANCE[kind](*there.unbind(1))).abs()
    assert (change <= 0.1 * step.norm(dim=1) + 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_brightness_hardly_depends_on_the_resolution(kind):
    """Edges are antialiased. Without that, the mean would differ by several levels."""
    labels = torch.zeros(16, dtype=torch.int64)
    small, large = (draw(labels, (kind,), R, 20.0, torch.Generator().manual_seed(1)) for R in (32, 192))
    assert (small.double().mean((2, 3)) - large.double().mean((2, 3))).abs().max() < 1


@pytest.mark.parametrize(("kind", "area"), [("circle", math.pi * 0.85**2), ("square", 1.4**2), ("bar", 1.9 * 0.5)])
def test_the_area_of_shapes(kind, area):
    images = draw(torch.zeros(64, dtype=torch.int64), (kind,), 128, 180.0, torch.Generator().manual_seed(1))
    share = covered(images).double().mean()
    # The size is uniform in [0.5, 0.75] of half the side, so the mean proportion is E[size^2] area / 4.
    assert share == pytest.approx((0.75**3 - 0.5**3) / (3 * 0.25) * area / 4, rel=0.1)


def covered(images):
    """Return where the shape is: it has a channel of at least 0.8, the background none above 0.25 + 2 * 0.08."""
    return images.amax(1) > 0.6 * 255


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), max_angle=st.floats(0, 180))
def test_shapes_are_inside_the_image(seed, max_angle):
    images = draw(torch.arange(len(KINDS)), KINDS, 128, max_angle, torch.Generator().manual_seed(seed))
    border = torch.ones(128, 128, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert images.amax(1)[:, border].max() <= 0.42 * 255
    assert covered(images).any(2).any(1).all()


def test_images_depend_on_the_seed_only():
    before = torch.get_rng_state()
    one, two, other = (load(seed=seed, count=12)[0] for seed in (7, 7, 8))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("count", [1, 13, 1003])
def test_counts_of_the_classes_differ_by_at_most_one(count):
    dataset = Shapes(Shapes.Config(count=count, resolution=8)).load_data()
    images, labels = dataset.load()
    assert images.shape == (count, 3, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    counts = labels.bincount(minlength=len(dataset.class_names))
    assert counts.max() - counts.min() <= 1
    assert dataset.class_names == ("circle", "square", "triangle", "star", "ring", "cross")


def test_labels_match_the_shapes():
    kinds = ("bar", "ring")
    images, labels = load(kinds=kinds, count=40, resolution=64, max_angle=0, seed=3)
    for mask, label in zip(covered(images), labels, strict=True):
        y, x = mask.nonzero(as_tuple=True)
        middle = mask[int(y.double().mean().round()), int(x.double().mean().round())]
        assert middle == (kinds[label] == "bar")


def test_grey_is_the_luminance():
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [10, 20, 30]])
    images = colours.to(torch.uint8)[:, :, None, None].expand(-1, -1, 2, 2)
    assert grey(images)[:, :, 0, 0].tolist() == [[76], [150], [29], [255], [0], [18]]
    assert torch.equal(load(count=5, channels=1)[0], grey(load(count=5)[0]))


def test_hsv_to_rgb_equals_the_standard_library():
    hsv = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([colorsys.hsv_to_rgb(*row) for row in hsv.tolist()])
    torch.testing.assert_close(hsv_to_rgb(*hsv.unbind(1)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": 7},
        {"channels": 2},
        {"count": 0},
        {"kinds": []},
        {"kinds": ["circle", "circle"]},
        {"kinds": ["blob"]},
        {"size": (0.8, 0.5)},
        {"max_angle": 181},
        {"seed": 2**63},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Shapes.Config(**wrong)


def test_the_shape_is_found_in_coloured_images():
    plugin = Shapes(Shapes.Config())
    resolution = 48
    sketch = Sketch.random(torch.arange(80) % len(KINDS), (0.5, 0.75), 20, torch.Generator().manual_seed(0))
    alpha = coverage(sketch, KINDS, resolution)
    true, found = alpha[:, 0] >= 0.5, plugin.find_parts(paint(sketch, alpha))["shape"]
    assert ((true & found).sum() / (true | found).sum()).item() > 0.9
    assert not plugin.find_parts(torch.full((1, 3, 8, 8), 60, dtype=torch.uint8))["shape"].any()
    grey_data = Shapes(Shapes.Config(channels=1))
    assert grey_data.find_parts(grey(paint(sketch, alpha))) is None
