"""SNGAN's networks: the paper's tables, any size, the sum over positions, and classes."""

import pytest
import torch
from torch import nn

from gankit import Spec
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.discriminator.sngan import SnganDiscriminator
from gankit_plugins.generator.sngan import Sngan
from gankit_plugins.layers.residual import ResidualBlock


def norms(player, layer, features):
    return nn.Sequential(layer, nn.BatchNorm2d(features)) if player == "generator" else layer


def networks(shape, G, D, latent_size=128):
    spec = Spec(shape=shape, latent_size=latent_size, normalize=norms)
    generator = Sngan(Sngan.Config(**G)).build_generator(spec)
    return generator, SnganDiscriminator(SnganDiscriminator.Config(**D)).build_discriminator(spec)


def conv(before, after, kernel=3):
    return before * after * kernel**2 + after


def up(before, after):
    """Return the parameters of a block of G: two batch norms, two convolutions and the shortcut's."""
    return 2 * before + conv(before, after) + 2 * after + conv(after, after) + conv(before, after, 1)


def down(before, after, shortcut=True):
    return conv(before, before) + conv(before, after) + shortcut * conv(before, after, 1)


def first(after):
    return conv(3, after) + conv(after, after) + conv(3, after, 1)


TABLES = {
    "CIFAR-10, table 4": (
        32,
        {"width": 256},
        {"width": 128},
        [(256, 4), (256, 8), (256, 16), (256, 32)],
        [(128, 16), (128, 8), (128, 8), (128, 8)],
        (129 * 4 * 4 * 256) + 3 * up(256, 256) + 2 * 256 + conv(256, 3),
        first(128) + down(128, 128) + 2 * down(128, 128, shortcut=False) + 129,
    ),
    "STL-10, table 5": (
        48,
        {"width": 64, "double_channels": True},
        {"width": 64, "double_channels": True},
        [(512, 6), (256, 12), (128, 24), (64, 48)],
        [(64, 24), (128, 12), (256, 6), (512, 3), (1024, 3)],
        (129 * 6 * 6 * 512) + up(512, 256) + up(256, 128) + up(128, 64) + 2 * 64 + conv(64, 3),
        first(64) + down(64, 128) + down(128, 256) + down(256, 512) + down(512, 1024) + 1025,
    ),
    "ImageNet, table 6": (
        128,
        {"width": 64, "double_channels": True},
        {"width": 64, "double_channels": True},
        [(1024, 4), (1024, 8), (512, 16), (256, 32), (128, 64), (64, 128)],
        [(64, 64), (128, 32), (256, 16), (512, 8), (1024, 4), (1024, 4)],
        (129 * 4 * 4 * 1024)
        + sum(up(a, b) for a, b in ((1024, 1024), (1024, 512), (512, 256), (256, 128), (128, 64)))
        + (2 * 64 + conv(64, 3)),
        first(64)
        + sum(down(a, b) for a, b in ((64, 128), (128, 256), (256, 512), (512, 1024)))
        + down(1024, 1024, shortcut=False)
        + 1025,
    ),
}
"""Side of the images, settings, (channels, side) of the feature maps of G and D, and their numbers of parameters."""


@pytest.mark.parametrize("table", TABLES)
def test_maps_and_size_of_the_paper(table):
    side, G_config, D_config, G_maps, D_maps, G_size, D_size = TABLES[table]
    with torch.device("meta"):
        G, D = networks((3, side, side), G_config, D_config)
        maps = {"G": [], "D": []}
        for name, parts in (("G", (G.from_z, *G.body)), ("D", D.body)):
            for part in parts:
                part.register_forward_hook(lambda module, x, y, name=name: maps[name].append(tuple(y.shape[1:])))
        images = G(torch.empty(2, 128), None)
        logits, features, _ = D(images, None)
    assert images.shape == (2, 3, side, side)
    assert maps["G"] == [(channels, size, size) for channels, size in G_maps]
    assert maps["D"] == [(channels, size, size) for channels, size in D_maps]
    assert (logits.shape, features.shape) == ((2,), (2, D_maps[-1][0]))
    assert sum(p.numel() for p in G.parameters()) == G_size
    assert sum(p.numel() for p in D.parameters()) == D_size


def test_layers_are_the_papers():
    with torch.device("meta"):
        G, D = networks((3, 32, 32), {}, {})

    def leaves(network):
        skipped = (nn.Identity,)
        return [type(m) for m in network.modules() if not list(m.children()) and not isinstance(m, skipped)]

    norm = [nn.BatchNorm2d, nn.ReLU]
    block = [*norm, nn.Upsample, nn.Conv2d, *norm, nn.Conv2d, nn.Conv2d, nn.Upsample]
    assert leaves(G) == [nn.Linear, nn.Unflatten, *block * 3, *norm, nn.Conv2d, nn.Tanh]
    first = [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.AvgPool2d, nn.AvgPool2d, nn.Conv2d]
    plain = [nn.ReLU, nn.Conv2d, nn.ReLU, nn.Conv2d]
    halving = [*plain, nn.AvgPool2d, nn.AvgPool2d, nn.Conv2d]
    assert leaves(D) == [*first, *halving, *plain * 2, nn.Linear]


def test_logit_is_linear_in_the_sum_over_positions(perturbed):
    """Move the pixels of the last feature map: the logit stays the same, and it is the sum of the logits of pixels."""
    _, D = networks((3, 16, 16), {"width": 2}, {"width": 3})
    perturbed(D)
    images = torch.randn(2, 3, 16, 16)
    logits, features, _ = D(images, None)
    last = D.body(images).relu()
    expected = torch.stack([last[:, :, i, j] for i in range(8) for j in range(8)]).sum(0)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(logits, features @ D.head.weight[0] + D.head.bias)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 64), (2, 4, 9), (4, 31, 17), (3, 48, 30)])
@pytest.mark.parametrize("double", [False, True])
def test_rectangles_and_any_number_of_channels(shape, double):
    config = {"width": 2, "double_channels": double}
    G, D = networks(shape, config, config, latent_size=5)
    images = G(torch.randn(3, 5), None)
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    assert D(images, None).logits.shape == (3,)


SMALL = {Sngan: {"width": 4}, SnganDiscriminator: {"width": 4}}
CONDITIONAL = {
    "data": {"classes": 3},
    "normalization": {"generator": {"use": "conditional_batch_norm"}, "discriminator": {"use": "spectral_norm"}},
    "tricks": {"projection": {}},
}


def test_class_through_conditional_batch_norm_and_projection():
    run = train_iterations(tiny_run(SMALL, CONDITIONAL), 2)
    G, D = run.generator.eval(), run.discriminator.eval()
    z = torch.randn(1, run.spec.latent_size).expand(3, -1)
    images = G(z, torch.arange(3))
    assert all((images[i] - images[j]).abs().max() > 1e-4 for i, j in ((0, 1), (0, 2), (1, 2)))
    logits = D(images[:1].expand(3, -1, -1, -1), torch.arange(3)).logits
    assert len(set(logits.tolist())) == 3
    assert D.embedding.weight.shape == (3, 4)
    layers = [m for m in D.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert all(hasattr(layer, "parametrizations") for layer in layers)


def test_conditional_run_resumes_exactly():
    check_resume(SMALL, CONDITIONAL)


@pytest.mark.parametrize("tricks", [["skip_z"], ["dropout"], ["moving_average"], ["packing"], ["gradient_penalty"]])
def test_with_other_tricks(tricks):
    train_iterations(tiny_run(SMALL, {"tricks": {name: {} for name in tricks}}), 1)


@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm", "instance_norm", "group_norm", "virtual_batch_norm"])
def test_with_every_normalisation(norm):
    change = {"normalization": {player: {"use": norm} for player in ("generator", "discriminator")}}
    run = train_iterations(tiny_run(SMALL, change), 1)
    blocks = [m for m in run.discriminator.modules() if isinstance(m, ResidualBlock)]
    normalized = [sum("Norm" in type(m).__name__ for m in block.modules()) for block in blocks]
    assert normalized == [0, 2, 2]
