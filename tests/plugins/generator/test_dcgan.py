"""DCGAN's networks: the paper's table, any size, initial weights and equation."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gankit import ClassCondition, InputError, Spec
from gankit_plugins.discriminator.dcgan import (
    DcganDiscriminator,
)
from gankit_plugins.generator.dcgan import Dcgan, DcganGenerator
from gankit_plugins.layers.conditioning import append_planes, one_hot
from gankit_plugins.layers.dcgan import doubling, halving, sizes_of


def generator(spec, plugin_class=Dcgan, **config):
    torch.manual_seed(0)
    return plugin_class(plugin_class.Config(**config)).build_generator(spec=spec)


def discriminator(spec, plugin_class=DcganDiscriminator, **config):
    torch.manual_seed(0)
    return plugin_class(plugin_class.Config(**config)).build_discriminator(spec=spec)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def norms(player, layer, features):
    return nn.Sequential(layer, nn.BatchNorm2d(features))


# The paper's network for 64x64 (Radford 2015, figure 1): every weight, a bias for each output channel, and a scale and
# a shift behind all but the image.
PAPER_G = (
    (100 * 4 * 4 * 1024 + 1024 + 2 * 1024)
    + (1024 * 512 * 5 * 5 + 512 + 2 * 512)
    + (512 * 256 * 5 * 5 + 256 + 2 * 256)
    + (256 * 128 * 5 * 5 + 128 + 2 * 128)
    + (128 * 3 * 5 * 5 + 3)
)
PAPER_D = (
    (3 * 128 * 5 * 5 + 128)
    + (128 * 256 * 5 * 5 + 256 + 2 * 256)
    + (256 * 512 * 5 * 5 + 512 + 2 * 512)
    + (512 * 1024 * 5 * 5 + 1024 + 2 * 1024)
    + (4 * 4 * 1024 + 1)
)


def test_papers_maps_and_size():
    with torch.device("meta"):
        spec = Spec(shape=(3, 64, 64), latent_size=100, normalize=norms)
        G, D = generator(spec), discriminator(spec)
        maps = {"G": [], "D": []}
        for name, body in (("G", G.body), ("D", D.body)):
            for layer in body:
                layer.register_forward_hook(lambda module, x, y, name=name: maps[name].append(tuple(y.shape[1:])))
        images = G(torch.empty(2, 100), None)
        logits, features, _ = D(images, None)
    assert images.shape == (2, 3, 64, 64)
    assert maps["G"] == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32)]
    assert maps["D"] == [(128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    assert (logits.shape, features.shape) == ((2,), (2, 4 * 4 * 1024))
    assert sum(p.numel() for p in G.parameters()) == PAPER_G
    assert sum(p.numel() for p in D.parameters()) == PAPER_D


def test_layers_are_the_papers():
    with torch.device("meta"):
        spec = Spec(shape=(3, 64, 64), normalize=norms)
        G, D = generator(spec), discriminator(spec)
    grown = [m for m in G.modules() if isinstance(m, nn.ConvTranspose2d)][1:]
    assert [(m.kernel_size, m.stride) for m in grown] == [((5, 5), (2, 2))] * 4
    assert [(m.kernel_size, m.stride) for m in D.modules() if isinstance(m, nn.Conv2d)] == [((5, 5), (2, 2))] * 4

    def leaves(network):
        return [type(m) for m in network.modules() if not list(m.children())]

    grow, shrink = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU], [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert leaves(G) == [*grow * 4, nn.ConvTranspose2d, nn.Tanh]
    assert leaves(D) == [nn.Conv2d, nn.LeakyReLU, *shrink * 3, nn.Linear]
    assert {m.negative_slope for m in D.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@given(st.integers(4, 5000))
def test_maps_shrink_to_three_or_four(resolution):
    found = [height for height, _ in sizes_of(Spec(shape=(1, resolution, resolution)))]
    assert found[0] == resolution
    assert all(smaller == -(-larger // 2) for larger, smaller in pairwise(found))
    assert found[-1] in ((2,) if resolution == 4 else (3, 4))
    assert all(side > 4 for side in found[1:-1])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40))
def test_doubling_comes_back_to_every_side_that_was_halved(side):
    small = halving(2, 3)(torch.zeros(1, 2, side, side))
    assert small.shape == (1, 3, (side + 1) // 2, (side + 1) // 2)
    assert doubling(3, 2, (side, side))(small).shape == (1, 2, side, side)


@pytest.mark.parametrize("resolution", [1, 3])
@pytest.mark.parametrize("build", [generator, discriminator])
def test_too_small_images_are_refused(build, resolution):
    with pytest.raises(InputError, match=f"images are {resolution} pixels wide or high, and dcgan needs 4 or more"):
        build(Spec(shape=(3, resolution, resolution)))


def test_initial_weights_are_the_papers():
    """Check the mean, standard deviation and share beyond two deviations of N(0, 0.02^2)."""
    spec = Spec(shape=(3, 32, 32), normalize=norms)
    for network in (generator(spec, width=16), discriminator(spec, width=16)):
        layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
        for layer in layers:
            w = layer.weight.detach().flatten()
            assert w.mean().abs() < 4 * 0.02 / len(w) ** 0.5
            assert w.std().item() == pytest.approx(0.02, rel=4 / (2 * len(w)) ** 0.5)
            assert torch.all(layer.bias == 0)
        every = torch.cat([layer.weight.detach().flatten() for layer in layers])
        assert (every.abs() > 0.04).float().mean().item() == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize("resolution", [8, 13])
def test_generator_is_its_equation(perturbed, resolution):
    """Compare with a matrix and transposed convolutions, written out for z and a class."""
    spec = Spec(shape=(2, resolution, resolution), latent_size=3, condition=ClassCondition(("a", "b")))
    G = perturbed(DcganGenerator(spec, 2, 2).double())
    layers = [m for m in G.modules() if isinstance(m, nn.ConvTranspose2d)]
    z, labels = noise(4, 3), torch.tensor([1, 0, 0, 1])
    inputs = torch.cat([z, torch.tensor([[0.0, 1], [1, 0], [1, 0], [0, 1]])], dim=1)
    W = layers[0].weight
    x = torch.einsum("bi,ichw->bchw", inputs, W) + layers[0].bias.view(1, -1, 1, 1)
    for layer, (side, _) in zip(layers[1:], sizes_of(spec)[-2::-1], strict=True):
        # Zeros between the pixels, then a plain convolution with the kernel turned around.
        before = x.relu()
        B, C, H, _ = before.shape
        spread = before.new_zeros(B, C, side + 4, side + 4)
        spread[:, :, 2 : 2 + 2 * H : 2, 2 : 2 + 2 * H : 2] = before
        turned = layer.weight.flip(2, 3).transpose(0, 1)
        x = nn.functional.conv2d(spread, turned, layer.bias)
    torch.testing.assert_close(G(z, labels), x.tanh())


def test_labels_as_numbers():
    labels = torch.tensor([2, 0])
    assert one_hot(labels, 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    planes = append_planes(torch.full((2, 1, 2, 2), 0.5), labels, 3)
    assert planes.shape == (2, 4, 2, 2)
    assert torch.equal(planes[:, 0], torch.full((2, 2, 2), 0.5))
    assert torch.equal(planes[:, 1:].amax((2, 3)), one_hot(labels, 3))
    assert torch.equal(planes[:, 1:].amin((2, 3)), one_hot(labels, 3))
