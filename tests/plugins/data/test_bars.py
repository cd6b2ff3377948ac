"""Data plugin `bars`: drawn bars, and the measurement of their angle, size and colour."""

import math

import pytest
import torch

from gankit import Recipe, Sampler, VectorCondition
from gankit.evaluation.evaluator import Evaluator
from gankit.plugin.comparison import Comparison, Samples
from gankit.recipe.bundled import find_recipe
from gankit.testing import train_iterations
from gankit.training.assembly import assemble
from gankit_plugins.data.bars import COLOURS, CONDITION, Bars, condition_errors, measure


def bars(**settings):
    plugin = Bars(Bars.Config(**{"resolution": 32, "count": 40, **settings}))
    return plugin, *plugin.draw_all()


def test_the_images_show_their_condition():
    _, images, condition = bars(resolution=64, count=600)
    errors = condition_errors(images, condition)
    assert errors["angle_error"] < 0.5
    assert errors["size_error"] < 0.01
    assert errors["colour_as_asked"] == 1
    assert CONDITION.mistake(condition) is None
    assert condition[:, :2].amin(0).max() < -0.9  # both numbers fill their ranges
    assert condition[:, :2].amax(0).min() > 0.9


def test_the_settings_determine_the_images():
    _, images, condition = bars()
    assert all(torch.equal(a, b) for a, b in zip(bars()[1:], (images, condition), strict=True))
    assert not torch.equal(bars(seed=1)[1], images)
    assert torch.equal(bars(count=9)[1], images[:9])
    assert (condition[:, 2:].argmax(1) == torch.arange(40) % 4).all()


@pytest.mark.parametrize(("angle", "length", "colour"), [(0, 20, 0), (90, 31, 3), (45, 25, 2), (70, 28, 1)])
def test_a_bar_that_is_drawn_pixel_by_pixel_is_measured(angle, length, colour):
    image = torch.full((3, 48, 48), 20, dtype=torch.uint8)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rgb = (torch.tensor(list(COLOURS.values())[colour]) * 255).round().to(torch.uint8)
    for row in range(48):
        for column in range(48):
            x, y = column - 23.5, row - 23.5
            if abs(x * cos + y * sin) <= length / 2 and abs(y * cos - x * sin) <= 3:
                image[:, row, column] = rgb
    found_angle, size, found_colour = (one.item() for one in measure(image[None]))
    assert abs(found_angle - angle) < 1.5
    assert size == pytest.approx(length / 48 / 0.95, abs=0.03)
    assert found_colour == colour


def test_errors_are_the_differences_from_the_condition():
    _, images, condition = bars(resolution=64, count=200)
    turned = condition.clone()
    turned[:, 0] = torch.where(condition[:, 0] < 0, condition[:, 0] + 1, condition[:, 0] - 1)
    assert condition_errors(images, turned)["angle_error"] == pytest.approx(45, abs=1)
    larger = condition.clone()
    larger[:, 1] += 0.4
    assert condition_errors(images, larger)["size_error"] == pytest.approx(0.1, abs=0.005)
    # The direction of a bar has no sign: 0 and 180 degrees are the same.
    half_turn = condition.clone()
    half_turn[:, 0] += 4
    assert condition_errors(images, half_turn)["angle_error"] < 1
    assert condition_errors(images, condition.roll(1, 1))["colour_as_asked"] < 1


def test_metrics_need_the_condition_of_bars():
    plugin, images, condition = bars()
    real = Samples(images, condition, CONDITION)

    def metrics(*fake):
        return plugin.compute_metrics(Comparison(real, Samples(*fake), None, {}))

    assert metrics(images, condition, CONDITION) == condition_errors(images, condition)
    assert set(metrics(images, condition, CONDITION)) == set(Bars.better)
    assert metrics(images) is None
    assert metrics(images, condition, VectorCondition(tuple("abcdef"))) is None
    empty = metrics(torch.zeros_like(images), condition, CONDITION)
    assert all(math.isfinite(value) for value in empty.values())


def test_the_recipe_generates_every_combination_of_attributes():
    tiny = ["generator.width=2", "discriminator.width=2", "data.resolution=16", "data.count=40", "evaluation.count=20"]
    run = assemble(Recipe.load(find_recipe("attributes_bars"), [*tiny, "train.batch_size=4", "train.device=cpu"]))
    run.load_data()
    run.start()
    train_iterations(run, 1)
    assert set(Evaluator(run).row()["metrics"]) == set(Bars.better)
    sampler = Sampler.of_run(run)
    images = sampler.sweep({"colour": tuple(COLOURS), "angle": (0, 45, 90)}, rows=2, wanted={"size": 0.6})
    assert images.shape == (2, 4, 3, 3, 16, 16)
    wanted = {"colour": "blue", "angle": 45, "size": 0.6}
    assert torch.equal(images[:, 2, 1], sampler.sample(2, wanted)[0])
