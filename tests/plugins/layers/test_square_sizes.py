"""Sizes of square feature maps, and their channels."""

import pytest

from gankit import InputError, Spec
from gankit_plugins.layers.square_sizes import channels_at, sides_of


@pytest.mark.parametrize(("side", "sides"), [(4, [4]), (8, [4, 8]), (16, [4, 8, 16]), (64, [4, 8, 16, 32, 64])])
def test_sides(side, sides):
    assert sides_of(Spec(shape=(3, side, side)), "pggan") == sides


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 3), (5, 5), (12, 12), (28, 28), (8, 16), (9, 8)])
def test_other_sizes_are_refused(height, width):
    message = rf"stylegan needs square .*{height}x{width} pixels; change data\.resolution, or use sngan"
    with pytest.raises(InputError, match=message):
        sides_of(Spec(shape=(3, height, width)), "stylegan")


def test_channels_of_the_papers():
    sides = [2**k for k in range(2, 11)]
    assert [channels_at(side, 16384, 512) for side in sides] == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert [channels_at(side, 32768, 512) for side in sides] == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    assert channels_at(64, 32, 8) == 1
