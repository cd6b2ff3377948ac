"""Layers: igan."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gankit import InputError, Spec
from gankit_plugins.layers.igan import (
    SLOPE,
    activated,
    convolution,
    enlargement,
    image_layer,
    prime_factors,
    set_sizes,
    single_enlargement,
)


@given(st.integers(1, 5000))
def test_prime_factors_are_prime_ascend_and_multiply_to_the_number(n):
    factors = prime_factors(n)
    product = 1
    for factor in factors:
        assert factor > 1
        assert all(factor % d for d in range(2, factor))
        product *= factor
    assert product == n
    assert factors == sorted(factors)


@pytest.mark.parametrize("resolution", [4, 8, 20, 28, 32, 44, 64, 96])
def test_sets_of_square_images_are_those_of_the_paper(resolution):
    small, large, factor = set_sizes(Spec(shape=(3, resolution, resolution)))
    assert (small, large) == ((4, 4), (resolution // 4, resolution // 4))
    assert 4 * factor == resolution


@pytest.mark.parametrize(("resolution", "near"), [(30, "28 or 32"), (97, "96 or 100"), (7, "4 or 8"), (2, "to 4$")])
def test_sets_refuse_other_sizes_and_names_the_neighbours(resolution, near):
    with pytest.raises(InputError, match=f"{resolution} pixels high.*{near}"):
        set_sizes(Spec(shape=(3, resolution, resolution)))


def reach(layer, channels, side=5):
    """Return (height, width) of the response of each output channel to an impulse in each input channel."""
    base = layer(torch.zeros(1, channels, side, side))
    extents = []
    for c in range(channels):
        x = torch.zeros(1, channels, side, side)
        x[0, c, side // 2, side // 2] = 1
        changed = (layer(x) - base)[0].abs() > 1e-9
        extents.append([tuple(changed[o].any(1 - d).sum().item() for d in (0, 1)) for o in range(len(changed))])
    return extents


def test_convolution_keeps_the_size_and_has_a_kernel_of_3():
    assert reach(convolution(2), 2) == [[(3, 3)] * 2] * 2


@pytest.mark.parametrize("factor", [2, 3, 5, 11])
def test_transposed_enlargement_multiplies_the_size_and_neighbours_overlap_by_one_pixel(factor):
    layer = enlargement(1, factor, "transposed")
    assert layer(torch.zeros(1, 1, 5, 4)).shape == (1, 1, 5 * factor, 4 * factor)
    # Each input owns a square of `factor` pixels; it reaches one pixel beyond on every side.
    assert reach(layer, 1) == [[(factor + 2, factor + 2)]]


@pytest.mark.parametrize("factor", [2, 3, 5, 11])
def test_pixel_shuffle_enlargement_multiplies_the_size(factor):
    layer = enlargement(1, factor, "pixel_shuffle")
    assert layer(torch.zeros(1, 1, 5, 4)).shape == (1, 1, 5 * factor, 4 * factor)
    # A 3x3 convolution before the pixels are laid out: the input's neighbours see it too.
    assert reach(layer, 1) == [[(3 * factor, 3 * factor)]]


@pytest.mark.parametrize("factor", [1, 4, 7, 24])
def test_single_enlargement_never_overlaps(factor):
    assert reach(single_enlargement(2, factor), 2) == [[(factor, factor)] * 2] * 2


@pytest.mark.parametrize("factor", [1, 2, 7])
def test_single_enlargement_is_a_1x1_convolution_with_pixel_shuffle(factor):
    torch.manual_seed(0)
    layer = single_enlargement(3, factor)
    same = nn.Sequential(nn.Conv2d(3, 3 * factor**2, 1), nn.PixelShuffle(factor))
    with torch.no_grad():
        # (in, out, i, j) to output channel out * factor^2 + i * factor + j.
        same[0].weight.copy_(layer.weight.permute(1, 2, 3, 0).reshape(-1, 3, 1, 1))
        same[0].bias.copy_(layer.bias.repeat_interleave(factor**2))
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(layer(x), same(x))


@pytest.mark.parametrize(
    "layer",
    [convolution(2, 3), enlargement(2, 2, "transposed", 3), enlargement(2, 3, "pixel_shuffle", 3)],
    ids=["convolution", "transposed", "pixel_shuffle"],
)
def test_groups_never_meet(layer):
    extents = reach(layer, 6)
    touched = [[height > 0 for height, _ in row] for row in extents]
    assert touched == [[i // 2 == o // 2 for o in range(6)] for i in range(6)]


def test_activated_is_the_layer_its_normalisation_and_leaky_relu():
    calls = []

    def normalize(player, layer, features):
        calls.append((player, layer, features))
        return nn.Sequential(layer, nn.BatchNorm2d(features))

    layer = convolution(2, 3)
    block = activated(Spec(normalize=normalize), "discriminator", layer, 6)
    assert calls == [("discriminator", layer, 6)]
    assert [type(m) for m in block.modules()][1:] == [nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert block[1].negative_slope == SLOPE == 0.02
    torch.testing.assert_close(block[1](torch.tensor([-3.0, 0.0, 2.0])), torch.tensor([-0.06, 0.0, 2.0]))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_image_layer_ends_in_tanh_with_optional_normalisation(image_channels, groups, normalize):
    def batch_norm(player, layer, features):
        assert player == "generator"
        return nn.Sequential(layer, nn.BatchNorm2d(features))

    layer = image_layer(Spec(shape=(image_channels, 32, 32), normalize=batch_norm), 2, normalize, groups)
    assert isinstance(layer[-1], nn.Tanh)
    norms = [m.num_features for m in layer.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == ([image_channels * groups] if normalize else [])
    images = layer(torch.randn(2, 2 * groups, 4, 4) * 100)
    assert images.shape == (2, image_channels * groups, 4, 4)
    assert images.abs().max() <= 1
