"""Upsampling and downsampling with a low-pass filter."""

import pytest
import torch

from gankit_plugins.layers.resampling import (
    FilteredDownsample,
    FilteredUpsample,
    downsample,
    low_pass_kernel,
    upsample,
)

TAPS = {-1: 1 / 8, 0: 3 / 8, 1: 3 / 8, 2: 1 / 8}


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 2)])
def test_upsampling_is_a_loop_over_pixels(size):
    x = noise(2, 3, *size)
    y = torch.zeros(2, 3, 2 * size[0], 2 * size[1], dtype=torch.float64)
    for i in range(size[0]):
        for j in range(size[1]):
            for di, a in TAPS.items():
                for dj, b in TAPS.items():
                    row, column = 2 * i + di, 2 * j + dj
                    if 0 <= row < y.shape[2] and 0 <= column < y.shape[3]:
                        y[:, :, row, column] += 4 * a * b * x[:, :, i, j]
    torch.testing.assert_close(FilteredUpsample().double()(x), y)


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (3, 2)])
def test_downsampling_is_a_loop_over_pixels(size):
    x = noise(2, 3, *size)
    y = torch.zeros(2, 3, size[0] // 2, size[1] // 2, dtype=torch.float64)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            for di, a in TAPS.items():
                for dj, b in TAPS.items():
                    row, column = 2 * i + di, 2 * j + dj
                    if 0 <= row < size[0] and 0 <= column < size[1]:
                        y[:, :, i, j] += a * b * x[:, :, row, column]
    torch.testing.assert_close(FilteredDownsample().double()(x), y)


@pytest.mark.parametrize("layer", [FilteredUpsample(), FilteredDownsample()])
def test_a_constant_stays_constant_away_from_the_border(layer):
    y = layer(torch.full((1, 2, 8, 8), 5.0))[:, :, 1:-1, 1:-1]
    assert torch.equal(y, torch.full_like(y, 5.0))


def test_downsampling_removes_the_highest_frequency():
    checkers = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).tile(4, 4)[None, None]
    assert not FilteredDownsample()(checkers)[:, :, 1:-1, 1:-1].any()


@pytest.mark.parametrize("function", [upsample, downsample])
def test_second_derivatives_by_finite_differences(function):
    def nonlinear(x):
        return function(x.square(), low_pass_kernel().double())

    assert torch.autograd.gradgradcheck(nonlinear, noise(1, 2, 2, 4).requires_grad_())


@pytest.mark.parametrize("layer", [FilteredUpsample(), FilteredDownsample()])
def test_layout_precision_and_state(layer):
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert layer.state_dict() == {}
