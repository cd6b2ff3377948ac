"""InfoGAN's networks for MNIST: the paper's table."""

import pytest
import torch
from torch import nn

from gankit import InputError, Spec
from gankit_plugins.discriminator.infogan import InfoGanDiscriminator
from gankit_plugins.generator.infogan import InfoGanGenerator


def norms(player, layer, features):
    return nn.Sequential(
        layer,
        nn.BatchNorm2d(features) if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else nn.BatchNorm1d(features),
    )


# Chen 2016, table 1: every weight, a bias for each output, and a scale and a shift for each normalised output.
PAPER_G = (
    (74 * 1024 + 3 * 1024) + (1024 * 7 * 7 * 128 + 3 * 7 * 7 * 128) + (128 * 64 * 4 * 4 + 3 * 64) + (64 * 1 * 4 * 4 + 1)
)
PAPER_D = (1 * 64 * 4 * 4 + 64) + (64 * 128 * 4 * 4 + 3 * 128) + (7 * 7 * 128 * 1024 + 3 * 1024) + (1024 + 1)


def built(plugin_class, channels, resolution, **spec):
    plugin = plugin_class(plugin_class.Config())
    spec = Spec(shape=(channels, resolution, resolution), normalize=norms, **spec)
    return plugin.build_generator(spec) if plugin.kind == "generator" else plugin.build_discriminator(spec)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_papers_sizes_and_maps():
    with torch.device("meta"):
        G = built(InfoGanGenerator, channels=1, resolution=28, latent_size=74)
        D = built(InfoGanDiscriminator, channels=1, resolution=28)
        images = G(torch.zeros(3, 74), None)
        logits, features = D(images, None)[:2]
    assert (parameters(G), parameters(D)) == (PAPER_G, PAPER_D)
    assert (images.shape, logits.shape, features.shape) == ((3, 1, 28, 28), (3,), (3, 1024))


def test_head_is_a_linear_layer_of_the_features():
    D = built(InfoGanDiscriminator, channels=3, resolution=8).eval()
    logits, features = D(torch.rand(5, 3, 8, 8) * 2 - 1, None)[:2]
    torch.testing.assert_close(logits, features @ D.head.weight[0] + D.head.bias)


def test_image_whose_side_is_no_multiple_of_four_is_refused():
    with pytest.raises(InputError, match="images are 30x30, and infogan needs sides that are multiples of 4"):
        built(InfoGanGenerator, channels=1, resolution=30, latent_size=4)
