"""StyleGAN's networks: the paper's sizes, their figure, classes, and other plugins."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from gankit import InputError, Spec
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.discriminator.stylegan import StyleganDiscriminator
from gankit_plugins.generator.stylegan import Stylegan
from gankit_plugins.layers.adain import adain
from gankit_plugins.layers.resampling import WIDE, low_pass_kernel, upsample

G_SMALL = {"w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8}
D_SMALL = {"channel_base": 32, "max_channels": 8}
SMALL = {Stylegan: G_SMALL, StyleganDiscriminator: D_SMALL}


def networks(shape, G=None, D=None, latent_size=512):
    spec = Spec(shape=shape, latent_size=latent_size)
    generator = Stylegan(Stylegan.Config(**(G or {}))).build_generator(spec)
    return generator, StyleganDiscriminator(StyleganDiscriminator.Config(**(D or {}))).build_discriminator(spec)


def size(network):
    return sum(p.numel() for p in network.parameters())


def test_size_of_the_paper():
    channels = [512, 512, 512, 512, 256, 128, 64, 32, 16]
    with torch.device("meta"):
        G, D = networks((3, 1024, 1024))
        images = G(torch.empty(2, 512), None)
        logits, features, _ = D(images, None)
    assert G.synthesis.layers == 18
    assert images.shape == (2, 3, 1024, 1024)
    assert (logits.shape, features.shape) == ((2,), (2, 512))

    def after(count):
        """Return the parameters of the noise, the biases and the style."""
        return 2 * count + 513 * 2 * count

    layers = after(512) + (9 * 512 * 512 + after(512))
    layers += sum(9 * a * b + after(b) + 9 * b * b + after(b) for a, b in pairwise(channels))
    assert size(G) == 8 * 513 * 512 + 16 * 512 + layers + (3 * 16 + 3)
    # Section 2 of the paper has 26.2M parameters. The authors' network also has layers to smaller images, for growing.
    assert size(G) + sum(3 * count + 3 for count in channels[:-1]) == 26_219_627
    blocks = sum((9 * b * b + b) + (9 * b * a + a) for a, b in pairwise(channels))
    last = 9 * 513 * 512 + 512 + (16 * 512 * 512 + 512) + (512 + 1)
    assert size(D) == (3 * 16 + 16) + blocks + last


def test_generator_is_its_figure(perturbed):
    G, _ = networks((3, 8, 8), {**G_SMALL, "noise": False}, latent_size=5)
    S = perturbed(G).double().synthesis
    z = torch.randn(2, 5, dtype=torch.float64)
    w = G.mapping(z, None)

    def after(layer, x):
        x = x + layer.activation.bias[:, None, None]
        x = math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)
        scale, shift = layer.adain.affine(w).chunk(2, 1)
        return adain(x, 1 + scale, shift)

    def conv(layer, x):
        return F.conv2d(x, layer.weight / math.sqrt(9 * x.shape[1]), padding=layer.weight.shape[-1] // 2)

    x = after(S.body[0], S.constant.expand(2, -1, -1, -1))
    x = after(S.body[1], conv(S.body[1].layer, x))
    doubling = S.body[2].layer
    doubling.kernel.copy_(low_pass_kernel(WIDE))
    wide = doubling(x)
    rotated = doubling.convolution.weight.flip(2, 3) / math.sqrt(9 * x.shape[1])
    expected = F.conv2d(upsample(x, low_pass_kernel().double()), rotated, padding=1)
    torch.testing.assert_close(wide[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2])
    x = after(S.body[3], conv(S.body[3].layer, after(S.body[2], wide)))
    image = F.conv2d(x, S.to_image.weight / math.sqrt(x.shape[1]), S.to_image.bias)
    torch.testing.assert_close(G(z, None), image)
    assert image.abs().max() > 1
    torch.testing.assert_close(G.eval()(z, None), image.clamp(-1, 1))


def test_other_sizes_are_refused():
    for plugin in (
        Stylegan(Stylegan.Config(**G_SMALL)),
        StyleganDiscriminator(StyleganDiscriminator.Config(**D_SMALL)),
    ):
        build = getattr(plugin, f"build_{plugin.kind}")
        with pytest.raises(InputError, match="stylegan needs square images"):
            build(Spec(shape=(3, 8, 16)))


CONDITIONAL = {
    "data": {"classes": 3},
    "generator": {"conditional": True},
    "tricks": {"projection": {}, "moving_average": {}, "style_mixing": {}, "path_length": {"every": 2}},
}


def test_conditional_run_with_mixing_and_path_length_resumes_exactly():
    check_resume(SMALL, CONDITIONAL, before=1, after=3)


@pytest.mark.parametrize("tricks", [["ada", "r1"], ["gradient_penalty"], ["packing"], ["self_attention"], ["skip_z"]])
def test_with_other_tricks(tricks):
    train_iterations(tiny_run(SMALL, {"tricks": {name: {} for name in tricks}}), 1)
