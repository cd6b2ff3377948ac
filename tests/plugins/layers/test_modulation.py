"""Scale and shift from a vector for each image."""

import pytest
import torch
from torch import nn

from gankit import InputError
from gankit_plugins.layers.latent_parts import part_sizes
from gankit_plugins.layers.modulation import CurrentVectors, Modulation, scale_and_shift, without_scale_and_shift


@pytest.mark.parametrize("pixels", [(), (2, 3)])
def test_scale_and_shift_by_a_naive_loop(pixels):
    x, scale, shift = torch.randn(4, 3, *pixels), torch.randn(4, 3), torch.randn(4, 3)
    y = scale_and_shift(x, scale, shift)
    for b in range(4):
        for c in range(3):
            torch.testing.assert_close(y[b, c], scale[b, c] * x[b, c] + shift[b, c])


def test_zero_vectors_change_nothing_and_the_type_is_kept():
    source = CurrentVectors()
    layer = Modulation(source, 5, 3)
    source.vectors = torch.zeros(2, 5)
    x = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.Sequential(nn.BatchNorm2d(4))]
)
def test_without_scale_and_shift_is_the_normalisation_alone(norm):
    x = torch.randn(3, 4, 5, 5)
    expected = norm(x)
    for p in norm.parameters():
        nn.init.normal_(p)
    assert without_scale_and_shift(norm) is norm
    torch.testing.assert_close(norm(x), expected)
    assert not list(norm.parameters())


@pytest.mark.parametrize(("size", "levels"), [(120, 6), (7, 3), (5, 5), (11, 4)])
def test_parts_are_those_of_tensor_split(size, levels):
    assert part_sizes(size, levels) == [len(part) for part in torch.arange(size).tensor_split(levels)]
    with pytest.raises(InputError, match=rf"latent\.size: {levels - 1} values cannot be split among the {levels}"):
        part_sizes(levels - 1, levels)
