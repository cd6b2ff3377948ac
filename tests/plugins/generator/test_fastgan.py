"""FastGAN's networks: sizes, channels and parameters at 256x256 and 1024x1024, excitations, and any size."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from gankit import InputError, Spec
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit_plugins.discriminator.fastgan import FastganDiscriminator
from gankit_plugins.generator.fastgan import Fastgan, excitations
from gankit_plugins.layers.fastgan import DownBlock, channels_at


def norms(player, layer, features):
    return nn.Sequential(layer, nn.BatchNorm2d(features))


def networks(shape, G, D, latent_size=256, normalize=norms):
    spec = Spec(shape=shape, latent_size=latent_size, normalize=normalize)
    generator = Fastgan(Fastgan.Config(**G)).build_generator(spec)
    return generator, FastganDiscriminator(FastganDiscriminator.Config(**D)).build_discriminator(spec)


def conv(before, after, kernel):
    return before * after * kernel**2 + after


def up(before, after):
    """Return the parameters of a convolution and its batch norm, with twice the channels for the gates."""
    return conv(before, 2 * after, 3) + 4 * after


def sle(low, high):
    return conv(low, high, 4) + conv(high, high, 1)


def down(before, after):
    """Return the parameters of a block of D: three convolutions and three batch norms."""
    return conv(before, after, 4) + conv(after, after, 3) + conv(before, after, 1) + 6 * after


G_256 = [(1024, 4), (512, 8), (256, 16), (128, 32), (64, 64), (32, 128), (32, 256)]
D_256 = [(64, 128), (128, 64), (256, 32), (512, 16), (1024, 8)]
TABLES = {
    256: (G_256, {"5": (512, 32), "6": (256, 32)}, D_256),
    1024: (
        [*G_256, (3, 512), (3, 1024)],
        {"5": (512, 32), "6": (256, 32), "7": (128, 3)},
        [(3, 512), (32, 256), *D_256],
    ),
}
"""(Channels, side) of the feature maps of G, channels of both maps of its excitations, and feature maps of D."""


@pytest.mark.parametrize("side", TABLES)
def test_maps_and_parameters(side):
    G_maps, pairs, D_maps = TABLES[side]
    with torch.device("meta"):
        G, D = networks((3, side, side), {}, {})
        maps = {"G": [], "D": []}
        for name, parts in (("G", (G.from_z, *G.body)), ("D", (D.from_image, *D.body))):
            for part in parts:
                part.register_forward_hook(lambda module, x, y, name=name: maps[name].append(tuple(y.shape[1:])))
        images = G(torch.empty(2, 256), None)
        logits, features, _ = D(images, None)
    assert images.shape == (2, 3, side, side)
    assert maps["G"] == [(channels, size, size) for channels, size in G_maps]
    assert maps["D"] == [(channels, size, size) for channels, size in D_maps]
    assert (logits.shape, features.shape) == ((2, 5, 5), (2, 1024 * 8 * 8))
    G_channels, D_channels = ([channels for channels, _ in table] for table in (G_maps, D_maps))
    expected = 256 * 2048 * 16 + 2048 + 2 * 2048
    expected += sum(up(a, b) for a, b in pairwise(G_channels))
    expected += sum(sle(*pair) for pair in pairs.values()) + conv(G_channels[-1], 3, 3)
    assert sum(p.numel() for p in G.parameters()) == expected
    expected = conv(3, D_channels[0], 4) + conv(1024, 1, 4)
    expected += sum(down(a, b) for a, b in pairwise(D_channels))
    assert sum(p.numel() for p in D.parameters()) == expected
    assert {k: (m.factors[0].in_channels, m.factors[0].out_channels) for k, m in G.excitations.items()} == pairs


def test_layers_of_the_blocks():
    with torch.device("meta"):
        G, D = networks((3, 64, 64), {}, {})

    def leaves(network):
        return [type(m) for m in network.modules() if not list(m.children())]

    one = [nn.Conv2d, nn.BatchNorm2d]
    assert leaves(G.from_z) == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.GLU]
    assert all(leaves(block) == [nn.Upsample, *one, nn.GLU] for block in G.body)
    activated = [*one, nn.LeakyReLU]
    assert all(leaves(block) == [*activated * 2, nn.AvgPool2d, *activated] for block in D.body)
    assert leaves(D.from_image) == [nn.Conv2d, nn.LeakyReLU]


@pytest.mark.parametrize(
    ("doublings", "pairs"),
    [
        (1, {1: 0}), (3, {3: 0}), (4, {4: 0}), (5, {5: 1}), (6, {5: 1, 6: 2}), (7, {5: 1, 6: 2, 7: 3}),
        (8, {5: 1, 6: 2, 7: 3}),
    ],
)  # fmt: skip
def test_pairs_of_excitations(doublings, pairs):
    assert excitations(doublings) == pairs


def test_channels():
    assert [channels_at(level, 100, (4, 4)) for level in range(7)] == [100, 50, 25, 12, 6, 3, 3]
    assert channels_at(3, 2, (64, 64)) == 1
    assert channels_at(7, 1024, (512, 700)) == 3
    assert channels_at(6, 1024, (511, 700)) == 32


@pytest.mark.parametrize("level", [5, 6])
def test_excitation_scales_the_large_map_by_the_small_one(perturbed, level):
    """Without its excitation, a map is larger by the inverse of the factors."""
    G, _ = networks((3, 256, 256), {"width": 8}, {"width": 8}, latent_size=5)
    perturbed(G).eval()
    seen = {}
    for name, module in (("low", G.body[level - 5]), ("high", G.body[level - 1]), ("y", G.excitations[str(level)])):
        module.register_forward_hook(lambda module, x, y, name=name: seen.update({name: y}))
    G(torch.randn(2, 5), None)
    assert seen["low"].shape[2:] == (8 * 2 ** (level - 5),) * 2
    assert seen["high"].shape[2:] == (128 * 2 ** (level - 5),) * 2
    factors = G.excitations[str(level)].factors(nn.functional.adaptive_avg_pool2d(seen["low"], 4))
    torch.testing.assert_close(seen["y"], seen["high"] * factors)


def test_block_of_d_is_the_mean_of_its_paths():
    torch.manual_seed(0)
    block = DownBlock(Spec(), 2, 3)
    x = torch.randn(1, 2, 6, 8)
    two = nn.functional.leaky_relu(block.residual[0][0](x), 0.2)
    two = nn.functional.leaky_relu(block.residual[1][0](two), 0.2)
    pooled = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).mean(0)
    one = nn.functional.leaky_relu(block.shortcut[1][0](pooled), 0.2)
    torch.testing.assert_close(block(x), (two + one) / 2)
    assert block(x).shape == (1, 3, 3, 4)


def test_each_logit_depends_on_its_window_of_the_last_map(perturbed):
    _, D = networks((3, 16, 16), {"width": 4}, {"width": 4})
    perturbed(D).eval()
    images = torch.randn(2, 3, 16, 16)
    logits, features, _ = D(images, None)
    last = features.view(2, 4, 8, 8)
    for i, j in ((0, 0), (2, 3), (4, 4)):
        window = last[:, :, i : i + 4, j : j + 4]
        torch.testing.assert_close(logits[:, i, j], (window * D.head.weight[0]).sum((1, 2, 3)) + D.head.bias)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 64), (2, 4, 9), (4, 31, 17), (3, 130, 66), (1, 5, 5)])
def test_rectangles_and_any_number_of_channels(shape):
    G, D = networks(shape, {"width": 4}, {"width": 4}, latent_size=5)
    images = G(torch.randn(3, 5), None)
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    logits, features, _ = D(images, None)
    assert logits.shape[0] == features.shape[0] == 3
    assert min(logits.shape[1:]) >= 1


@pytest.mark.parametrize("build", ["build_generator", "build_discriminator"])
def test_small_images_and_other_data_are_refused(build):
    plugin = Fastgan(Fastgan.Config()) if build == "build_generator" else FastganDiscriminator(Fastgan.Config())
    with pytest.raises(InputError, match="images are 3 pixels wide or high, and fastgan needs 4 or more"):
        getattr(plugin, build)(Spec(shape=(1, 3, 8)))
    with pytest.raises(InputError, match="fastgan needs images"):
        getattr(plugin, build)(Spec(shape=(5,)))


def test_initial_weights():
    torch.manual_seed(0)
    for network in networks((3, 64, 64), {"width": 64}, {"width": 64}, normalize=lambda player, layer, n: layer):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                count = layer.weight.numel()
                assert layer.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * count) ** 0.5)
                assert not layer.bias.any()


SMALL = {Fastgan: {"width": 8}, FastganDiscriminator: {"width": 8}}
AT_32 = {"data": {"use": "shapes", "resolution": 32, "count": 24, "kinds": ["circle", "ring"]}}
PAPER = AT_32 | {
    "loss": {"use": "hinge"},
    "normalization": {player: {"use": "batch_norm"} for player in ("generator", "discriminator")},
    "tricks": {
        "spectral_weights": {"players": ["generator", "discriminator"]},
        "diff_augment": {},
        "discriminator_reconstruction": {"width": 4},
        "moving_average": {"decay": 0.9},
    },
}


@pytest.mark.parametrize("train", [{}, {"precision": "bf16"}, {"accumulate": 2}, {"channels_last": False}])
def test_settings_of_the_paper_train(train):
    run = train_iterations(tiny_run(SMALL, PAPER | {"train": train}), 2)
    assert run.generator.excitations.keys() == {"3"}


def test_settings_of_the_paper_resume_exactly():
    check_resume(SMALL, PAPER, before=1, after=1)


CONDITIONAL = AT_32 | {
    "normalization": {"generator": {"use": "conditional_batch_norm"}, "discriminator": {"use": "spectral_norm"}},
    "tricks": {"projection": {}},
}


def test_class_through_conditional_batch_norm_and_projection():
    run = train_iterations(tiny_run(SMALL, CONDITIONAL), 2)
    G, D = run.generator.eval(), run.discriminator.eval()
    z = torch.randn(1, run.spec.latent_size).expand(2, -1)
    images = G(z, torch.arange(2))
    assert (images[0] - images[1]).abs().max() > 1e-4
    logits = D(images[:1].expand(2, -1, -1, -1), torch.arange(2)).logits
    assert logits.shape == (2, 5, 5)
    assert (logits[0] - logits[1]).abs().min() > 0


@pytest.mark.parametrize("tricks", [["skip_z"], ["packing"], ["gradient_penalty"], ["r1"], ["self_attention"]])
def test_with_other_tricks(tricks):
    train_iterations(tiny_run(SMALL, {"tricks": {name: {} for name in tricks}}), 1)
