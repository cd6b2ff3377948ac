"""Growth: its schedule, and the functions that fade."""

import pytest
import torch

from gankit_plugins.layers.progressive import (
    Growing,
    Growth,
    blend,
    complete_at,
    enlarge,
    growth_at,
    shrink,
)


def test_schedule_by_hand():
    """Two iterations at each size and three of fading, for 4x4, 8x8 and 16x16."""
    levels = [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    alphas = [1, 1, 0, 1 / 3, 2 / 3, 1, 1, 0, 1 / 3, 2 / 3, 1, 1, 1]
    growths = [growth_at(t, stable=2, fade=3, levels=3) for t in range(13)]
    assert [g.level for g in growths] == levels
    assert [g.alpha for g in growths] == pytest.approx(alphas)
    assert growth_at(10**9, 2, 3, 3) == Growth(2, 1, 1)


def test_schedule_of_the_paper():
    """800,000 images each, in batches of 16: 4x4 until iteration 50,000, and 1024x1024 complete after 12.8 million."""
    at = [growth_at(t, 50_000, 50_000, 9) for t in (49_999, 50_000, 75_000, 100_000, 149_999, 150_000)]
    assert at == [(0, 1, 1), (1, 0, 50_000), (1, 25_000, 50_000), (1, 1, 1), (1, 1, 1), (2, 0, 50_000)]
    assert complete_at(50_000, 50_000, 9) * 16 == 12_800_000


@pytest.mark.parametrize(("stable", "fade", "levels"), [(1, 1, 1), (1, 4, 2), (3, 2, 5)])
def test_the_last_level_is_complete_at_its_iteration(stable, fade, levels):
    t = complete_at(stable, fade, levels)
    assert growth_at(t, stable, fade, levels) == Growth(levels - 1, 1, 1)
    assert t == 0 or growth_at(t - 1, stable, fade, levels).alpha < 1


def test_enlarge_and_shrink_by_loops():
    x = torch.randn(2, 3, 2, 4)
    large, small = enlarge(x, 4), shrink(x)
    assert large.shape == (2, 3, 8, 16)
    assert small.shape == (2, 3, 1, 2)
    for i in range(8):
        for j in range(16):
            assert torch.equal(large[:, :, i, j], x[:, :, i // 4, j // 4])
    for j in range(2):
        torch.testing.assert_close(small[:, :, 0, j], x[:, :, :, 2 * j : 2 * j + 2].mean((2, 3)))
    assert enlarge(x, 1) is shrink(x, 1) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blend_keeps_the_type_and_is_exact_at_0_and_1(dtype):
    lower, higher = torch.randn(2, 5, dtype=dtype), torch.randn(2, 5, dtype=dtype)
    assert torch.equal(blend(lower, higher, torch.tensor(0.0)), lower)
    assert torch.equal(blend(lower, higher, torch.tensor(1.0)), higher)
    half = blend(lower, higher, torch.tensor(0.25))
    assert half.dtype == dtype
    torch.testing.assert_close(half, 0.75 * lower + 0.25 * higher)


def test_images_of_a_level():
    """Detail of real images fades in (Karras 2017, section 2)."""
    network = Growing(3)
    x = torch.randn(2, 3, 16, 16)
    assert network.to_level(x) is network.fade_detail(x) is x
    network.grow(Growth(1, 1, 4))
    small = network.to_level(x)
    assert torch.equal(small, shrink(x))
    assert network.to_level(small) is small
    torch.testing.assert_close(network.fade_detail(small), 0.75 * enlarge(shrink(small)) + 0.25 * small)


def test_a_copy_in_evaluation_mode_reads_the_buffer():
    network, copy = Growing(3), Growing(3)
    network.grow(Growth(1, 1, 3))
    copy.load_state_dict(network.state_dict())
    level, alpha = copy.eval().level_and_alpha()
    assert (level, alpha) == (1, pytest.approx(1 / 3))
    assert network.growth.dtype == torch.int64
