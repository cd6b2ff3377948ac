"""Metrics of motion, and features of video."""

import itertools

import pytest
import torch

from gankit import ClassCondition, Comparison, Dataset, InputError, VectorCondition
from gankit.plugin.comparison import Samples
from gankit_plugins.extractor.bundled import Bundled
from gankit_plugins.extractor.bundled_video import BundledVideo, clip_features
from gankit_plugins.layers.motion import DIRECTIONS, VELOCITY
from gankit_plugins.metric.motion import Motion, direction_of, distance_of_distributions


def clips_at(paths, side=16):
    """Return uint8 clips (N, 1, T, side, side) with one white pixel at each position (right, down)."""
    clips = torch.zeros(len(paths), 1, len(paths[0]), side, side, dtype=torch.uint8)
    for n, path in enumerate(paths):
        for t, (right, down) in enumerate(path):
            clips[n, 0, t, down, right] = 255
    return clips


def metrics(real, fake):
    return Motion(Motion.Config()).compute_metrics(Comparison(real, fake, None, {}))


RIGHT, DOWN, STILL = [(2, 5), (4, 5), (6, 5)], [(3, 1), (3, 2), (3, 3)], [(7, 7)] * 3
JUMP = [(3, 3), (3, 9), (3, 3)]


def test_motion_of_known_clips():
    directions = ClassCondition(DIRECTIONS)
    real = Samples(clips_at([RIGHT, DOWN]))
    fake = Samples(clips_at([RIGHT, DOWN, STILL, JUMP]), torch.tensor([0, 1, 0, 3]), directions)
    found = metrics(real, fake)
    # The best uniform motion of the jump stays at its mean, 2 pixels below the start: distances 2, 4 and 2.
    assert found["motion_deviation"] == pytest.approx((24 / 3) ** 0.5 / 4)
    assert found["direction_accuracy"] == 0.5
    assert found["speed_distance"] == pytest.approx((1 + 1 + 1 + 0) / 4)  # of 1, 1, 2, 2 and 0, 0, 1, 2
    assert "velocity_error" not in found


def test_directions_may_be_in_the_order_of_folders():
    fake = Samples(clips_at([RIGHT, DOWN]), torch.tensor([1, 1]), ClassCondition(("down", "right")))
    assert metrics(fake, fake)["direction_accuracy"] == 0.5


def test_velocity_error_is_in_pixels_per_frame():
    velocity = VectorCondition(VELOCITY, ((-4.0, 4.0), (-2.0, 2.0)))
    requested = torch.tensor([[2.0, 0.0], [3.0, 1.0]])
    fake = Samples(clips_at([RIGHT, DOWN]), velocity.scaled(requested), velocity)
    found = metrics(Samples(clips_at([RIGHT, DOWN])), fake)
    assert found["velocity_error"] == pytest.approx((0 + 3) / 2, abs=1e-6)
    assert found["motion_deviation"] == pytest.approx(0, abs=1e-6)


def test_other_conditions_have_no_agreement():
    samples = Samples(clips_at([RIGHT, DOWN]), torch.tensor([0, 1]), ClassCondition(("walk", "run")))
    assert metrics(samples, samples).keys() == {"motion_deviation", "speed_distance"}


def test_images_are_refused():
    images = Samples(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"motion: needs video \(C, T, H, W\), and a sample has shape \(3, 8, 8\)"):
        metrics(images, images)


def test_nearest_direction():
    velocity = torch.tensor([[2, 1], [1, 2], [-2, -1], [0.5, -2], [-1, 0.9]])
    assert [DIRECTIONS[k] for k in direction_of(velocity)] == ["right", "down", "left", "up", "left"]


def test_distance_of_distributions():
    """The mean distance of the sorted numbers, each repeated to the same count."""
    a, b = torch.randn(50, dtype=torch.float64), torch.randn(40, dtype=torch.float64) * 2 + 1
    expected = (a.sort().values.repeat_interleave(4) - b.sort().values.repeat_interleave(5)).abs().mean()
    assert distance_of_distributions(a, b).item() == pytest.approx(expected.item())


def test_features_of_clips_are_means_over_frames_and_differences():
    clips = torch.randint(0, 256, (3, 2, 4, 5, 5), dtype=torch.uint8)
    features_of = lambda images: torch.stack([images.float().mean((1, 2, 3)), images.float().amax((1, 2, 3))], 1)  # noqa: E731
    found = clip_features(clips, features_of)
    for n in range(3):
        frames = clips[n].unbind(1)
        changes = [
            ((b.int() - a.int() + 256) // 2).clamp(max=255).to(torch.uint8) for a, b in itertools.pairwise(frames)
        ]
        for part, images in ((found[n, :2], frames), (found[n, 2:], changes)):
            expected = torch.stack([torch.stack([i.float().mean(), i.float().amax()]) for i in images]).mean(0)
            assert torch.allclose(part, expected, rtol=1e-5)


def test_extractor_depends_on_the_motion():
    data = Dataset((1, 3, 16, 16), None, lambda: None)
    extractor = BundledVideo(BundledVideo.Config()).build_extractor(data, torch.device("cpu"))
    clips = clips_at([RIGHT, RIGHT[::-1], RIGHT])
    features = extractor(clips).values
    assert features.shape == (3, 256)
    assert torch.equal(features[0], features[2])
    assert torch.allclose(features[0, :128], features[1, :128], atol=1e-5)
    assert not torch.allclose(features[0, 128:], features[1, 128:], atol=1e-3)


def test_extractors_refuse_other_data():
    image = Dataset((3, 8, 8), None, lambda: None)
    with pytest.raises(InputError, match=r"bundled_video needs video of at least 2 frames with .* 3x8x8"):
        BundledVideo(BundledVideo.Config()).build_extractor(image, torch.device("cpu"))
    video = Dataset((3, 4, 8, 8), None, lambda: None)
    with pytest.raises(
        ValueError, match='3x4x8x8, and this extractor takes images; for video, set extractor = "bundled_v'
    ):
        Bundled(Bundled.Config()).build_extractor(video, torch.device("cpu"))
