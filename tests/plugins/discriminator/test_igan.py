"""Discriminators `igan` and `igan_per_class`."""

import pytest
import torch
from torch import nn

from gankit_plugins.discriminator.igan import IganDiscriminator, IganPerClass

ORDER = [2, 0, 1, 1, 2, 0, 0, 2, 1, 0, 1, 2]
"""Four images of each of three classes, in no order."""


def one(spec, **config):
    torch.manual_seed(0)
    return IganDiscriminator(IganDiscriminator.Config(**config)).build_discriminator(spec=spec)


def per_class(spec, **config):
    torch.manual_seed(0)
    return IganPerClass(IganPerClass.Config(**config)).build_discriminator(spec=spec)


def images_of(count, channels, side, dtype=torch.float32):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1), dtype=dtype)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


WITHOUT_BATCH_NORM = (
    (3 * 32 * 3 * 3 + 32)  # 96x96x3 to 96x96x32
    # Blocks: a 3x3 convolution, a strided one of kernel 4, the short cut of kernel 2. To 48x48x64,
    + (32 * 32 * 9 + 32) + (32 * 64 * 16 + 64) + (32 * 64 * 4 + 64)
    + (64 * 64 * 9 + 64) + (64 * 128 * 16 + 128) + (64 * 128 * 4 + 128)  # 24x24x128,
    + (128 * 128 * 9 + 128) + (128 * 256 * 16 + 256) + (128 * 256 * 4 + 256)  # 12x12x256, the widest,
    + (256 * 256 * 9 + 256) + (256 * 256 * 16 + 256) + (256 * 256 * 4 + 256)  # 6x6x256, small enough.
    + (6 * 6 * 256 + 1)  # one answer
)  # fmt: skip
WITH_BATCH_NORM = (
    WITHOUT_BATCH_NORM
    # A scale and a shift for each channel behind all but the last layer: the first,
    + 2 * 32
    # and in each block as many as come in, and twice as many as go out.
    + 2 * (32 + 64 + 64) + 2 * (64 + 128 + 128) + 2 * (128 + 256 + 256) + 2 * (256 + 256 + 256)
)  # fmt: skip
NORMALIZED = [("none", WITHOUT_BATCH_NORM), ("batch_norm", WITH_BATCH_NORM)]


@pytest.mark.parametrize(("normalization", "parameters"), NORMALIZED)
@pytest.mark.parametrize(("build", "classes"), [(one, 1), (per_class, 10)])
def test_shapes_and_size_at_the_papers_resolution(spec_of, normalization, parameters, build, classes):
    assert WITHOUT_BATCH_NORM == 2_966_241
    with torch.device("meta"):
        network = build(spec_of(normalization, channels=3, resolution=96, classes=classes))
        logits, features, _ = network(torch.empty(20, 3, 96, 96), torch.arange(20) % classes)
    assert sum(p.numel() for p in network.parameters()) == classes * parameters
    assert logits.shape == (20,)
    assert features.shape == (20, 6 * 6 * 256)


@pytest.mark.parametrize(
    ("resolution", "side", "channels"),
    # From two channels: doubled with every halving, to sixteen at most.
    [(4, 4, 2), (7, 7, 2), (8, 4, 4), (20, 5, 8), (28, 7, 8), (30, 7, 8), (32, 4, 16), (44, 5, 16), (64, 4, 16),
     (96, 6, 16), (120, 7, 16)],
)  # fmt: skip
@pytest.mark.parametrize("image_channels", [1, 3, 4])
def test_every_size(spec_of, resolution, side, channels, image_channels):
    network = one(spec_of("batch_norm", channels=image_channels, resolution=resolution), width=2)
    logits, features, _ = network(images_of(2, image_channels, resolution), None)
    assert logits.shape == (2,)
    assert features.shape == (2, channels * side * side)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("normalization", ["none", "batch_norm"])
def test_features_are_the_input_of_the_last_layer(spec_of, normalization):
    network = per_class(spec_of(normalization, channels=1, resolution=8, classes=3), width=2).double()
    labels = torch.tensor(ORDER)
    logits, features, _ = network(images_of(12, 1, 8, torch.float64), labels)
    heads = network.head.weight.reshape(3, -1)
    close(logits, (features * heads[labels]).sum(1) + network.head.bias[labels])


def test_block_is_the_sum_of_its_two_paths(spec_of):
    network = one(spec_of(channels=3, resolution=8), width=2)
    x = images_of(2, 3, 8)
    first, block = network.body
    maps = first(x)
    expected = nn.functional.leaky_relu(block.long_way(maps) + block.short_cut(maps), 0.02)
    assert torch.equal(network(x, None).features, expected.flatten(1))


@pytest.mark.parametrize("build", [one, per_class])
def test_layers_are_convolutions_norms_and_leaky_relu_of_two_hundredths(spec_of, build):
    network = build(spec_of("batch_norm", channels=3, resolution=96, classes=2), width=2)
    leaves = [m for m in network.modules() if not list(m.children())]
    assert {type(m) for m in leaves} == {nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU}
    assert {m.negative_slope for m in leaves if isinstance(m, nn.LeakyReLU)} == {0.02}
    # One behind the first layer, two in each of the four blocks.
    assert sum(isinstance(m, nn.LeakyReLU) for m in leaves) == 9
    assert sum(isinstance(m, nn.Conv2d) and m.stride == (2, 2) for m in leaves) == 8


def gradient_norm_penalty(network, images, labels):
    """First and second derivatives, as a gradient penalty asks for them."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network(images, labels).logits.sum(), images, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square()


@pytest.mark.parametrize("normalization", ["none", "batch_norm"])
@pytest.mark.parametrize("resolution", [4, 12])
def test_classes_at_once_are_classes_one_by_one(spec_of, tensors_of_class, perturbed, resolution, normalization):
    """Outputs, gradients and running averages are equal in training mode."""
    together = perturbed(per_class(spec_of(normalization, channels=3, resolution=resolution, classes=3), width=2))
    together.double()
    alone = [per_class(spec_of(normalization, channels=3, resolution=resolution), width=2).double() for _ in range(3)]
    for k, network in enumerate(alone):
        network.load_state_dict(tensors_of_class(together.state_dict(), network.state_dict(), 3, k))
    labels = torch.tensor(ORDER)
    images = images_of(12, 3, resolution, torch.float64).requires_grad_()
    logits, features, _ = together(images, labels)
    weights = torch.randn(12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (logits * weights).sum().backward()
    penalty = gradient_norm_penalty(together, images, labels)
    penalty.sum().backward()
    for k, network in enumerate(alone):
        own = labels == k
        own_images = images.detach()[own].requires_grad_()
        own_logits, own_features, _ = network(own_images, None)
        close(logits[own], own_logits)
        close(features[own], own_features)
        (own_logits * weights[own]).sum().backward()
        close(images.grad[own], own_images.grad)
        own_penalty = gradient_norm_penalty(network, own_images, None)
        close(penalty[own], own_penalty)
        own_penalty.sum().backward()
        single = dict(network.named_parameters())
        gradients = tensors_of_class({n: p.grad for n, p in together.named_parameters()}, single, 3, k)
        for name, gradient in gradients.items():
            close(gradient, single[name].grad)
        for name, value in tensors_of_class(together.state_dict(), network.state_dict(), 3, k).items():
            close(value, network.state_dict()[name])


def test_each_network_receives_only_images_of_its_class(spec_of):
    """The outputs for other classes are equal bit for bit, even with batch norm in training mode."""
    network = per_class(spec_of("batch_norm", channels=1, resolution=8, classes=3), width=2)
    images, changed = images_of(12, 1, 8), torch.tensor(ORDER) == 1
    before, after = (network(x, torch.tensor(ORDER)).logits for x in (images, images + changed[:, None, None, None]))
    assert torch.equal(before != after, changed)


def test_without_classes_or_with_one_it_is_one_network(spec_of):
    plain = one(spec_of(channels=1, resolution=8), width=2)
    x = images_of(4, 1, 8)
    for classes in (0, 1):
        network = per_class(spec_of(channels=1, resolution=8, classes=classes), width=2)
        network.load_state_dict(plain.state_dict())
        for labels in (None, torch.zeros(4, dtype=torch.int64)):
            assert torch.equal(network(x, labels).logits, plain(x, None).logits)
