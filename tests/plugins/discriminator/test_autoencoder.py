"""Discriminators `ebgan` and `began`, and BEGAN's generator: sizes by hand, and the logits as reconstruction errors."""

import pytest
import torch

from gankit import Spec
from gankit.testing import tiny_run
from gankit_plugins.discriminator.autoencoder import (
    BeganDiscriminator,
    EbganDiscriminator,
    absolute_error,
    squared_error,
)
from gankit_plugins.generator.began import BeganGenerator
from gankit_plugins.layers.began import sizes_of

BOTH = pytest.mark.parametrize("plugin_class", [EbganDiscriminator, BeganDiscriminator])


def built(plugin_class, spec, **config):
    plugin = plugin_class(plugin_class.Config(**config))
    return plugin.build_generator(spec=spec) if plugin.kind == "generator" else plugin.build_discriminator(spec=spec)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(before, after, kernel=3):
    return before * after * kernel**2 + after


n = 64
BEGAN_DECODER = (
    (64 * 8 * 8 * n + 8 * 8 * n)  # h to 8x8
    + 2 * convolution(n, n) + 2 * convolution(n, n)  # 8x8 and 16x16
    + 2 * convolution(n, n) + 2 * convolution(n, n)  # 32x32 and 64x64
    + convolution(n, 3)
)  # fmt: skip
BEGAN_ENCODER = (
    convolution(3, n) + 2 * convolution(n, n)  # 64x64
    + convolution(n, 2 * n) + convolution(2 * n, 2 * n)  # 32x32
    + convolution(2 * n, 3 * n) + convolution(3 * n, 3 * n)  # 16x16
    + convolution(3 * n, 4 * n) + convolution(4 * n, 4 * n)  # 8x8
    + (8 * 8 * 4 * n * 64 + 64)  # to h
)  # fmt: skip
EBGAN = (
    convolution(3, 64, 5) + convolution(64, 128, 5) + convolution(128, 256, 5)  # to 32x32, 16x16 and 8x8
    + convolution(256, 128, 5) + convolution(128, 64, 5) + convolution(64, 3, 5)  # and back
)  # fmt: skip


def test_sizes_at_the_resolution_of_the_paper():
    spec = Spec(shape=(3, 64, 64), latent_size=64)
    with torch.device("meta"):
        G, D, E = (built(c, spec) for c in (BeganGenerator, BeganDiscriminator, EbganDiscriminator))
        assert G(torch.zeros(2, 64), None).shape == (2, 3, 64, 64)
        codes = [network(torch.zeros(2, 3, 64, 64), None).features.shape for network in (D, E)]
    assert (parameters(G), parameters(D)) == (BEGAN_DECODER, BEGAN_ENCODER + BEGAN_DECODER)
    assert parameters(E) == EBGAN
    assert codes == [(2, 64), (2, 256 * 8 * 8)]


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [(64, [64, 32, 16, 8]), (28, [28, 14, 7]), (17, [17, 9, 5]), (9, [9, 5]), (8, [8]), (1, [1])],
)
def test_feature_maps_end_with_a_side_of_at_most_eight(resolution, expected):
    assert [height for height, _ in sizes_of(Spec(shape=(1, resolution, resolution)))] == expected


@pytest.mark.parametrize("resolution", [1, 2, 5, 8, 9, 17, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_of_image(resolution, channels):
    spec = Spec(shape=(channels, resolution, resolution), latent_size=5)
    G = built(BeganGenerator, spec, width=2)
    images = G(torch.randn(3, 5), None)
    assert images.shape == (3, channels, resolution, resolution)
    for plugin_class in (BeganDiscriminator, EbganDiscriminator):
        logits, code, extra = built(plugin_class, spec, width=2)(images, None)
        assert (logits.shape, code.shape[0], code.dim()) == ((3,), 3, 2)
        assert extra["reconstruction"].shape == images.shape


def test_generator_is_the_decoder_of_the_discriminator_with_tanh():
    spec = Spec(shape=(3, 20, 20), latent_size=6)
    G, D = built(BeganGenerator, spec, width=3), built(BeganDiscriminator, spec, width=3, code=6)
    G.decoder.load_state_dict(D.decoder.state_dict())
    z = torch.randn(4, 6)
    assert torch.equal(G(z, None), D.decoder(z).tanh())


@pytest.mark.parametrize(("error", "power"), [(absolute_error, 1), (squared_error, 2)])
def test_errors_by_a_naive_loop(error, power):
    images, reconstructions = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64)
    pairs = zip(images.flatten(1).tolist(), reconstructions.flatten(1).tolist(), strict=True)
    expected = [sum(abs(x - y) ** power for x, y in zip(*pair, strict=True)) / 40 for pair in pairs]
    assert error(reconstructions, images).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("plugin_class", "error"), [(EbganDiscriminator, "square"), (BeganDiscriminator, "abs")])
def test_logits_are_minus_the_error_of_the_reconstruction(plugin_class, error):
    D = built(plugin_class, Spec(shape=(2, 12, 12)), width=3).double()
    images = torch.randn(5, 2, 12, 12, dtype=torch.float64)
    logits, code, extra = D(images, None)
    torch.testing.assert_close(extra["reconstruction"], D.decoder(code))
    torch.testing.assert_close(logits, -getattr(extra["reconstruction"] - images, error)().mean((1, 2, 3)))


@BOTH
def test_error_has_full_precision_in_bfloat16(plugin_class):
    D = built(plugin_class, Spec(shape=(1, 8, 8)), width=3)
    with torch.autocast("cpu", torch.bfloat16):
        logits, _, extra = D(torch.rand(3, 1, 8, 8), None)
    assert logits.dtype == extra["reconstruction"].dtype == torch.float32


@BOTH
def test_gradient_of_the_image_has_two_parts(plugin_class):
    """The derivative of d(D(x), x) by x contains that by the second argument, checked by finite differences."""
    D = built(plugin_class, Spec(shape=(1, 4, 4)), width=2).double()
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: D(x, None).logits, images)


@BOTH
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": {"use": "non_saturating"}}, "the loss 'non_saturating' has a target for them"),
        ({"tricks": {"instance_noise": {}}}, "an autoencoder cannot reconstruct"),
        ({"loss": {"use": "wasserstein"}, "tricks": {"weight_clipping": {}}}, None),
    ],
)
def test_warnings(plugin_class, changes, sentence):
    warnings = [w for w in tiny_run({plugin_class: {"width": 2}}, changes).warnings if w.startswith("discriminator")]
    assert any(sentence in w for w in warnings) if sentence else warnings == []
