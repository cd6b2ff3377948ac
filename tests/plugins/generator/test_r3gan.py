"""R3GAN's networks: the paper's configurations, any size, classes, and a run with its loss."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gankit import ClassCondition, InputError, Spec
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit.training.update import draw_step, due_terms, value_of
from gankit_plugins.discriminator.r3gan import FullSizeConv, R3ganDiscriminator
from gankit_plugins.generator.r3gan import R3gan


def networks(shape, config, latent_size=64, classes=0, embedding=0):
    spec = Spec(shape=shape, latent_size=latent_size, condition=ClassCondition.of(tuple(map(str, range(classes)))))
    generator = R3gan(R3gan.Config(**config, class_embedding=embedding))
    generator.adjust_spec(spec)
    return (
        generator.build_generator(spec),
        R3ganDiscriminator(R3ganDiscriminator.Config(**config)).build_discriminator(spec),
    )


def size_of(network):
    return sum(p.numel() for p in network.parameters())


def block(channels):
    """Return the parameters of a block: 1x1 to twice the channels, 3x3 in groups of 16, 1x1 back, two biases."""
    inner = 2 * channels
    return channels * inner + inner * 16 * 9 + inner * channels + 2 * inner


def trunk(widths):
    """Return the parameters of two blocks at each size, the 1x1 convolutions between sizes, and that of the image."""
    between = sum(a * b for a, b in pairwise(widths) if a != b)
    return sum(2 * block(c) for c in widths) + between + 3 * widths[0]


CONFIGURATIONS = {
    "FFHQ-256": (256, {"width": 96}, [96, 192, 384, 768, 768, 768, 768], 0),
    "FFHQ-64": (64, {}, [768] * 5, 0),
    "Stacked MNIST": (32, {}, [768] * 4, 0),
    "CIFAR-10": (32, {}, [768] * 4, 10),
    "ImageNet-32": (32, {"width": 1536, "max_width": 1536}, [1536] * 4, 1000),
    "ImageNet-64": (64, {"width": 1536, "max_width": 1536}, [1536] * 5, 1000),
}
"""Side of the images, settings, channels from the image's size down to 4x4, and number of classes."""


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_of_the_paper(name):
    side, config, widths, classes = CONFIGURATIONS[name]
    embedding = 64 if classes else 0
    with torch.device("meta"):
        G, D = networks((3, side, side), config, classes=classes, embedding=embedding)
        maps = {"G": [], "D": []}
        for key, network in (("G", G), ("D", D)):
            for module in network.modules():
                if isinstance(module, nn.Conv2d) and module.groups > 1:
                    module.register_forward_hook(lambda m, x, y, key=key: maps[key].append((x[0].shape[1], y.shape[2])))
        labels = torch.zeros(2, dtype=torch.int64) if classes else None
        images = G(torch.empty(2, 64), labels)
        logits, features, _ = D(images, labels)
    assert images.shape == (2, 3, side, side)
    assert (logits.shape, features.shape) == ((2,), (2, widths[-1]))
    inner = [(2 * channels, side // 2**level) for level, channels in enumerate(widths) for _ in range(2)]
    assert maps["G"] == inner[::-1]
    assert maps["D"] == [*inner, (widths[-1], 1)]
    last = widths[-1]
    assert size_of(G) == trunk(widths) + 16 * last + (64 + embedding) * last + classes * embedding
    assert size_of(D) == trunk(widths) + 16 * last + (last * last + classes * last if classes else last)


def test_full_size_convolution_is_a_depthwise_convolution():
    layer, x = FullSizeConv(6, (4, 3)).double(), torch.randn(5, 6, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.nn.functional.conv2d(x, layer.weight, groups=6))


def test_parameters_of_the_papers_table():
    """Table 2, configuration E for FFHQ at 256x256: 23.058M in G and 23.010M in D."""
    with torch.device("meta"):
        sizes = [size_of(network) for network in networks((3, 256, 256), {"width": 96})]
    assert [f"{size / 1e6:.3f}M" for size in sizes] == ["23.058M", "23.010M"]


def test_new_networks_have_no_residual_branches():
    """Blocks begin as the identity, so G begins as upsampling of the basis, and D as a linear function of the image."""
    G, D = networks((3, 8, 8), {"width": 4, "max_width": 4}, latent_size=5)
    z, (x, y) = torch.randn(2, 5), torch.randn(2, 3, 3, 8, 8)
    maps = G.basis.maps * G.basis.factors(z)[:, :, None, None]
    to_rgb = G.to_image[0].weight
    expected = F.conv2d(F.interpolate(maps, (8, 8), mode="bilinear"), to_rgb).tanh()
    torch.testing.assert_close(G(z, None), expected)
    torch.testing.assert_close(D(x + 2 * y, None).logits, D(x, None).logits + 2 * D(y, None).logits)


def test_initial_signals_keep_their_variance():
    torch.manual_seed(0)
    G, D = networks((3, 16, 16), {"width": 64, "max_width": 64}, classes=3, embedding=16)
    labels = torch.arange(3).repeat(200)
    with torch.no_grad():
        assert G.basis(torch.randn(600, 64 + 16)).std().item() == pytest.approx(1, abs=0.15)
        features = torch.randn(600, 64)
        y = D.embedding(labels) * D.head(features)
    assert y.sum(1).std().item() == pytest.approx(1, abs=0.3)
    assert D.embedding.weight.std().item() == pytest.approx(1 / 8, rel=0.15)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 64), (2, 4, 9), (4, 31, 17), (3, 48, 30)])
@pytest.mark.parametrize("classes", [0, 3])
def test_rectangles_and_any_number_of_channels(shape, classes, perturbed):
    config = {"width": 2, "max_width": 6, "blocks": 1}
    G, D = networks(shape, config, latent_size=5, classes=classes, embedding=2 * bool(classes))
    labels = torch.arange(3) if classes else None
    images = perturbed(G)(torch.randn(3, 5), labels)
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    assert perturbed(D)(images, labels).logits.shape == (3,)


def test_class_enters_both_networks(perturbed):
    G, D = (perturbed(network) for network in networks((3, 8, 8), {"width": 4}, latent_size=5, classes=3, embedding=2))
    images = G(torch.randn(1, 5).expand(3, -1), torch.arange(3))
    assert all((images[i] - images[j]).abs().max() > 1e-4 for i, j in ((0, 1), (0, 2), (1, 2)))
    logits, features, _ = D(images[:1].expand(3, -1, -1, -1), torch.arange(3))
    assert len(set(logits.tolist())) == 3
    expected = [D.embedding.weight[k] @ D.head.weight @ features[k] for k in range(3)]
    torch.testing.assert_close(logits, torch.stack(expected))


def test_without_class_embedding_classes_are_unused(perturbed):
    G, D = (perturbed(network) for network in networks((3, 8, 8), {"width": 4}, latent_size=5, classes=3))
    images = G(torch.randn(3, 5), torch.arange(3))
    assert torch.equal(D(images, torch.arange(3)).logits, D(images, None).logits)


def test_class_embedding_needs_classes():
    message = "class_embedding of r3gan needs labels, and the dataset has none; use class_embedding = 0"
    with pytest.raises(InputError, match=message):
        R3gan(R3gan.Config(class_embedding=4)).adjust_spec(Spec())


SMALL = {R3gan: {"width": 4, "class_embedding": 3}, R3ganDiscriminator: {"width": 4}}
LOSS = {
    "train": {"batch_size": 12},
    "data": {"classes": 3},
    "loss": {"use": "non_saturating"},
    "tricks": {"relativistic": {}, "r1": {"gamma": 3.0}, "r2": {"gamma": 3.0}},
}


def test_other_conditions_are_refused():
    change = {"data": {"condition": "vector"}}
    with pytest.raises(InputError, match="class_embedding of r3gan needs labels, and the dataset has"):
        tiny_run(SMALL, change)
    with pytest.raises(InputError, match="r3gan works with classes or without a condition"):
        tiny_run({R3ganDiscriminator: {"width": 4}}, change | {"generator": {"use": "cgan"}})


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_loss_is_twice_the_papers(player):
    """Compare the loss with the paper's f(D(G(z)) - D(x)) + gamma / 2 (R1 + R2), for f = softplus and gamma = 1.5.

    The loss `non_saturating` with `relativistic` is the sum of two equal terms, so twice its gamma is needed.
    """
    run = train_iterations(tiny_run(SMALL, LOSS), 3)
    step = draw_step(run, player)
    terms = due_terms(run, player, 1)
    step.require_input_gradients(terms)
    loss = sum(term.weight * value_of(term, step) for term in terms)
    real, fake = (x.detach().requires_grad_() for x in (step.real, step.fake))
    on_real, on_fake = (run.discriminator(x, step.condition)[0] for x in (real, fake))
    if player == "generator":
        torch.testing.assert_close(loss, 2 * torch.log1p((on_real - on_fake).exp()).mean())
        return
    norms = [
        torch.autograd.grad(logits[i], x, retain_graph=True)[0].square().sum().item()
        for x, logits in ((real, on_real), (fake, on_fake))
        for i in range(12)
    ]
    expected = torch.log1p((on_fake - on_real).exp()).mean().item() + 1.5 / 2 * sum(norms) / 12
    assert loss.item() == pytest.approx(2 * expected, rel=1e-5)


def test_conditional_run_resumes_exactly():
    check_resume(SMALL, LOSS)


@pytest.mark.parametrize("tricks", [["skip_z"], ["dropout"], ["moving_average"], ["packing"], ["self_attention"]])
def test_with_other_tricks(tricks):
    train_iterations(tiny_run(SMALL, LOSS | {"tricks": {name: {} for name in tricks}}), 1)


@pytest.mark.parametrize("norm", ["batch_norm", "spectral_norm", "group_norm"])
def test_with_normalisation(norm):
    change = {"normalization": {player: {"use": norm} for player in ("generator", "discriminator")}}
    run = train_iterations(tiny_run({R3gan: {"width": 4}, R3ganDiscriminator: {"width": 4}}, change), 1)
    assert all(torch.isfinite(p).all() for player in run.parameters.values() for p in player)
