"""Generator `igan`."""

import pytest
import torch
from torch import nn

from gankit_plugins.generator.igan import Igan, IganGenerator


def built(spec, **config):
    torch.manual_seed(0)
    return Igan(Igan.Config(**config)).build_generator(spec=spec)


def z_of(count, size=6, dtype=torch.float32):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(1), dtype=dtype)


PAPER_WITHOUT_BATCH_NORM = (
    (100 * 1024 + 1024)  # z to 4x4x64 = 1,024
    + (100 * 36_864 + 36_864)  # z to 24x24x64 = 36,864
    # The long way, 4 to 8, 16, 32 and 96: a 3x3 convolution before each step,
    + 4 * (64 * 64 * 3 * 3 + 64)
    + 3 * (64 * 64 * 4 * 4 + 64)  # and three steps of 2, with kernel 4,
    + (64 * 64 * 5 * 5 + 64)  # one of 3, with kernel 5.
    + (64 * 64 * 24 * 24 + 64)  # the short cut
    + (64 * 64 * 4 * 4 + 64)  # 24x24 to 96x96
    + (64 * 3 * 3 * 3 + 3)  # the image
)
PAPER_WITH_BATCH_NORM = (
    PAPER_WITHOUT_BATCH_NORM
    # A scale and a shift for each channel: behind the long way's eight layers, the short cut and the step of the
    # larger map; and behind the image.
    + 10 * 2 * 64
    + 2 * 3
)


@pytest.mark.parametrize(
    ("normalization", "parameters"), [("none", PAPER_WITHOUT_BATCH_NORM), ("batch_norm", PAPER_WITH_BATCH_NORM)]
)
def test_shapes_and_size_of_the_papers_network(spec_of, normalization, parameters):
    assert PAPER_WITHOUT_BATCH_NORM == 6_700_355
    with torch.device("meta"):
        network = built(spec_of(normalization, channels=3, resolution=96))
        shapes = {}
        for name in ("to_small", "to_large", "long_way", "short_cut", "from_large", "to_image"):
            getattr(network, name).register_forward_hook(
                lambda module, inputs, output, name=name: shapes.update({name: tuple(output.shape)})
            )
        images = network(torch.empty(2, 100), None)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert images.shape == (2, 3, 96, 96)
    assert shapes == {
        "to_small": (2, 4 * 4 * 64),
        "to_large": (2, 24 * 24 * 64),
        "long_way": (2, 64, 96, 96),
        "short_cut": (2, 64, 96, 96),
        "from_large": (2, 64, 96, 96),
        "to_image": (2, 3, 96, 96),
    }


def test_kernels_of_the_paper(spec_of):
    """24 with stride 24 in the short cut, 4 with stride 4 from the larger map, 3 in convolutions."""
    with torch.device("meta"):
        network = built(spec_of(channels=3, resolution=96))

    def kernels(part, kind):
        return [(m.kernel_size[0], m.stride[0]) for m in part.modules() if type(m) is kind]

    assert kernels(network.short_cut, nn.ConvTranspose2d) == [(24, 24)]
    assert kernels(network.from_large, nn.ConvTranspose2d) == [(4, 4)]
    assert kernels(network.long_way, nn.ConvTranspose2d) == [(4, 2), (4, 2), (4, 2), (5, 3)]
    assert kernels(network, nn.Conv2d) == [(3, 1)] * 5


def test_image_is_the_sum_of_the_three_ways(spec_of):
    spec = spec_of(channels=1, resolution=12, latent_size=6)
    network = built(spec, channels=3)
    z = z_of(2)
    small = (z @ network.to_small.weight.T + network.to_small.bias).reshape(2, 3, 4, 4)
    large = (z @ network.to_large.weight.T + network.to_large.bias).reshape(2, 3, 3, 3)
    ways = [network.long_way(small), network.short_cut(small), network.from_large(large)]
    assert [way.shape for way in ways] == [(2, 3, 12, 12)] * 3
    convolution = network.to_image[0]
    expected = torch.tanh(nn.functional.conv2d(sum(ways), convolution.weight, convolution.bias, padding=1))
    torch.testing.assert_close(network(z, None), expected)


def test_activations_are_leaky_relu_of_two_hundredths_and_one_tanh(spec_of):
    network = built(spec_of("batch_norm", resolution=96, latent_size=6), channels=2)
    leaky = [m for m in network.modules() if isinstance(m, nn.LeakyReLU)]
    assert len(leaky) == 10
    assert {m.negative_slope for m in leaky} == {0.02}
    activations = (nn.LeakyReLU, nn.Tanh, nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
    leaves = [m for m in network.modules() if not list(m.children())]
    assert all(type(m) in activations for m in leaves)
    assert [type(m) for m in leaves].count(nn.Tanh) == 1


@pytest.mark.parametrize("upsampling", ["transposed", "pixel_shuffle"])
@pytest.mark.parametrize("normalize_output", [True, False])
def test_every_convolution_is_normalised(spec_of, normalize_output, upsampling):
    calls = []

    def normalize(player, layer, features):
        calls.append((player, features, layer))
        return layer

    spec = spec_of(channels=3, resolution=24, latent_size=6)
    spec.normalize = normalize
    network = built(spec, channels=5, upsampling=upsampling, normalize_output=normalize_output)
    # 2 and 3: two steps of two layers; the short cut; the step from the larger map; the image.
    assert [(player, features) for player, features, _ in calls] == (
        [("generator", 5)] * 6 + [("generator", 3)] * normalize_output
    )
    for _, features, layer in calls:
        side = 6 if layer in list(network.from_large.modules()) else 4
        assert layer(torch.zeros(1, 5, side, side)).shape[1] == features


def test_settings_reach_the_network(spec_of):
    spec = spec_of("batch_norm", channels=1, resolution=8, latent_size=7)
    network = built(spec, channels=5, upsampling="pixel_shuffle", normalize_output=False)
    assert isinstance(network, IganGenerator)
    assert network.to_small.weight.shape == (4 * 4 * 5, 7)
    assert network.to_large.weight.shape == (2 * 2 * 5, 7)
    assert [m.upscale_factor for m in network.long_way.modules() if isinstance(m, nn.PixelShuffle)] == [2]
    assert [type(m) for m in network.to_image] == [nn.Conv2d, nn.Tanh]
