"""Moving shapes: position, speed, direction and condition against a naive measurement."""

import math

import pytest
import torch
from pydantic import ValidationError

from gankit import ClassCondition, InputError
from gankit.testing import check_dataset
from gankit_plugins.data.moving_shapes import MovingShapes
from gankit_plugins.layers.motion import positions, uniform_motion


def load(**settings):
    return MovingShapes(MovingShapes.Config(**{"count": 40} | settings)).load_data()


def naive_position(frame):
    """Return the centre (right, down) of the pixels of a frame (C, H, W) in [0, 1] that are brighter than a half."""
    total = right = down = 0.0
    for y in range(frame.shape[1]):
        for x in range(frame.shape[2]):
            weight = max(0.0, max(frame[:, y, x].tolist()) - 0.5)
            total, right, down = total + weight, right + weight * x, down + weight * y
    return right / total, down / total


@pytest.mark.parametrize("channels", [1, 3])
def test_direction_and_speed(channels):
    data = load(channels=channels, speed=(0.8, 0.8), frames=6, resolution=20)
    clips, labels = data.read()[:2]
    assert data.condition == ClassCondition(("right", "down", "left", "up"))
    for clip, label in zip(clips[:8] / 255, labels[:8].tolist(), strict=True):
        path = [naive_position(frame) for frame in clip.unbind(1)]
        step = [(b - a) / 5 for a, b in zip(path[0], path[-1], strict=True)]
        expected = [(0.8, 0), (0, 0.8), (-0.8, 0), (0, -0.8)][label]
        assert step == pytest.approx(expected, abs=0.05)
        assert positions(clip[None] * 2 - 1)[0].tolist() == [pytest.approx(p, abs=1e-4) for p in path]


def test_velocity_is_the_condition():
    data = load(condition="velocity", speed=(0.2, 1.0))
    clips, condition = data.read()[:2]
    velocity, deviation = uniform_motion(positions(clips / 127.5 - 1))
    assert (data.condition.scaled(velocity) - condition).abs().max() < 0.05
    assert deviation.max() < 0.25  # pixels; the centre is measured from antialiased pixels
    assert condition.norm(dim=1).max() <= 1 + 1e-6
    check_dataset(data)


def test_clips_are_repeatable_and_whole_shapes():
    first, again, other = (load(condition="none", seed=seed).read() for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    bright = (first.images.amax(1) > 140).float().sum((2, 3))  # pixels of the shape in each frame, (N, T)
    assert (bright.amax(1) - bright.amin(1) <= 0.35 * bright.amax(1)).all()  # no shape leaves the frame
    assert first.condition is None


def test_paths_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="in 16 frames, a shape moves up to 30 pixels, and there is space for 21"):
        MovingShapes.Config(speed=(0.5, 2.0))
    with pytest.raises(ValidationError, match="give a lowest and a highest speed"):
        MovingShapes.Config(speed=(1.0, 0.5))


def test_uniform_motion_is_least_squares():
    path = torch.randn(5, 7, 2, dtype=torch.float64)
    velocity, deviation = uniform_motion(path)
    times = torch.stack([torch.ones(7), torch.arange(7)], 1).double()
    for n in range(5):
        solution = torch.linalg.lstsq(times, path[n]).solution
        rest = path[n] - times @ solution
        assert torch.allclose(velocity[n], solution[1])
        assert math.isclose(deviation[n].item(), rest.square().sum(1).mean().sqrt().item())


def test_a_frame_without_an_object_has_its_middle_as_position():
    assert positions(-torch.ones(1, 3, 2, 5, 8)).tolist() == [[[3.5, 2.0]] * 2]


def test_networks_refuse_other_data(start_run):
    change = {"data": {"use": "shapes"}, "generator": {"use": "vgan"}}
    with pytest.raises(InputError, match="vgan needs video, with channels, frames, height and width, and a sample of"):
        start_run(change)
    video = {"data": {"use": "moving_shapes", "count": 8}}
    with pytest.raises(InputError, match=r"needs images, with channels, height and width, .* has shape 3x16x32x32"):
        start_run(video)
