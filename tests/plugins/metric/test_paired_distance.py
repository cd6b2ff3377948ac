"""Metric: distances between generated images and their targets."""

import math

import pytest
import torch

from gankit import Comparison, ImageCondition
from gankit.plugin.comparison import Samples
from gankit_plugins.metric.paired_distance import PairedDistance, psnr, ssim


def naive_ssim(a, b):
    """Return the SSIM of two images (H, W) in [0, 1] by loops over windows and pixels (Wang 2004, eq. 13 to 17)."""
    gauss = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    weights = [[x * y / sum(gauss) ** 2 for x in gauss] for y in gauss]
    values = []
    for top in range(len(a) - 10):
        for left in range(len(a[0]) - 10):
            pixels = [(weights[i][j], a[top + i][left + j], b[top + i][left + j]) for i in range(11) for j in range(11)]
            mean_x, mean_y = sum(w * x for w, x, _ in pixels), sum(w * y for w, _, y in pixels)
            var_x = sum(w * (x - mean_x) ** 2 for w, x, _ in pixels)
            var_y = sum(w * (y - mean_y) ** 2 for w, _, y in pixels)
            cov = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in pixels)
            values.append(
                (2 * mean_x * mean_y + 1e-4)
                * (2 * cov + 9e-4)
                / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
            )
    return sum(values) / len(values)


def test_ssim_equals_the_definition():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 2, 12, 13, dtype=torch.float64, generator=generator)
    b = (a + 0.3 * torch.rand(a.shape, dtype=torch.float64, generator=generator)).clamp(max=1)
    expected = [sum(naive_ssim(a[n, c].tolist(), b[n, c].tolist()) for c in range(2)) / 2 for n in range(2)]
    assert ssim(a, b).tolist() == pytest.approx(expected, rel=1e-9)
    assert ssim(a, a).tolist() == pytest.approx([1, 1])


def test_psnr_of_a_constant_error():
    a = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)
    b = a + torch.tensor([0.1, 0.0]).view(2, 1, 1, 1)
    assert psnr(a, b).tolist() == pytest.approx([20, 100], rel=1e-5)


def comparison(real, fake, sources, fake_sources):
    condition = ImageCondition(tuple(sources.shape[1:]))
    return Comparison(Samples(real, sources, condition), Samples(fake, fake_sources, condition), None, {})


def test_each_image_is_compared_with_the_target_of_its_source():
    """More generated images than real ones repeat the sources."""
    real = torch.randint(256, (3, 1, 11, 11), dtype=torch.uint8)
    sources = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 4, 4).contiguous()
    index = torch.arange(5) % 3
    metric = PairedDistance(PairedDistance.Config())
    same = metric.compute_metrics(comparison(real, real[index], sources, sources[index]))
    assert same == {"l1": 0, "psnr": 100, "ssim": pytest.approx(1)}
    inverted = metric.compute_metrics(comparison(real, 255 - real[index], sources, sources[index]))
    assert inverted["l1"] == pytest.approx((2 * real[index].double() / 255 - 1).abs().mean().item())
    assert inverted["ssim"] < 0
    assert metric.compute_metrics(comparison(real, real, sources, sources.flip(0))) is None
    assert metric.compute_metrics(Comparison(Samples(real), Samples(real), None, {})) is None
    floats = real.float() / 127.5 - 1
    assert metric.compute_metrics(comparison(floats, floats, sources, sources))["psnr"] == 100
    small = real[:, :, :8]
    assert metric.compute_metrics(comparison(small, small, sources, sources)) == {"l1": 0, "psnr": 100}
