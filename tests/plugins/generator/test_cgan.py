"""CGAN's networks and maxout: their equations and the paper's sizes."""

import pytest
import torch
from torch import nn

from gankit import ClassCondition, Spec
from gankit_plugins.discriminator.cgan import CganDiscriminator
from gankit_plugins.discriminator.maxout import MaxoutDiscriminator
from gankit_plugins.generator.cgan import Cgan
from gankit_plugins.layers.maxout import maxout, to_unit_interval

MNIST = {"shape": (1, 28, 28), "condition": ClassCondition(tuple("0123456789")), "latent_size": 100}
SMALL_D = {"image_units": 4, "label_units": 3, "pieces": 2, "joint_units": 5, "joint_pieces": 3}


def generator(spec, **config):
    torch.manual_seed(0)
    return Cgan(Cgan.Config(**config)).build_generator(spec=spec)


def discriminator(spec, plugin_class=CganDiscriminator, **config):
    torch.manual_seed(0)
    return plugin_class(plugin_class.Config(**config)).build_discriminator(spec=spec)


def linear(layer, values):
    return [
        sum(w * x for w, x in zip(row, values, strict=True)) + bias
        for row, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def largest(values, pieces):
    return [max(values[start : start + pieces]) for start in range(0, len(values), pieces)]


def linears(network):
    return [m for m in network.modules() if isinstance(m, nn.Linear)]


def test_maxout_is_the_largest_of_each_units_pieces():
    x = torch.tensor([[3.0, 1, 2, -5, -4, -6], [0, 7, 0, 1, 1, 1]])
    assert maxout(x, 3).tolist() == [[3, -4], [7, 1]]
    assert maxout(x, 2).tolist() == [[3, 2, -4], [7, 1, 1]]
    assert torch.equal(maxout(x, 1), x)


def test_black_is_0():
    assert to_unit_interval(torch.tensor([-1.0, 0, 1])).tolist() == [0, 0.5, 1]


def test_papers_sizes():
    """Mirza 2014, section 4.1, weights and biases."""
    spec = Spec(**MNIST)
    G, D = generator(spec), discriminator(spec)
    of_G = (100 * 200 + 200) + (10 * 1000 + 1000) + (1200 * 1200 + 1200) + (1200 * 784 + 784)
    of_D = (784 * 240 * 5 + 240 * 5) + (10 * 50 * 5 + 50 * 5) + (290 * 240 * 4 + 240 * 4) + (240 + 1)
    assert sum(p.numel() for p in G.parameters()) == of_G
    assert sum(p.numel() for p in D.parameters()) == of_D


def test_first_gans_sizes():
    D = discriminator(Spec(**MNIST), MaxoutDiscriminator)
    assert sum(p.numel() for p in D.parameters()) == (784 * 1200 + 1200) + (240 * 1200 + 1200) + (240 + 1)
    assert [m.p for m in D.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]


def test_generator_is_its_equation(perturbed):
    spec = Spec(shape=(1, 2, 2), condition=ClassCondition(tuple("abc")), latent_size=2)
    G = perturbed(generator(spec, noise_units=3, label_units=4, joint_units=5).double())
    from_noise, from_label, joint, to_image = linears(G)
    z, labels = torch.randn(6, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])

    def relu(values):
        return [max(v, 0.0) for v in values]

    for row, label, image in zip(z.tolist(), labels.tolist(), G(z, labels), strict=True):
        y = [float(k == label) for k in range(3)]
        both = relu(linear(from_noise, row)) + relu(linear(from_label, y))
        expected = torch.tensor(linear(to_image, relu(linear(joint, both))), dtype=torch.float64).tanh()
        torch.testing.assert_close(image.flatten(), expected)


def test_discriminator_is_its_equation(perturbed):
    spec = Spec(shape=(1, 2, 2), condition=ClassCondition(tuple("abc")))
    D = perturbed(discriminator(spec, **SMALL_D).double()).eval()
    from_image, from_label, joint, head = linears(D)
    images, labels = torch.rand(6, 1, 2, 2, dtype=torch.float64) * 2 - 1, torch.tensor([0, 1, 2, 2, 1, 0])
    for image, label, logit, features in zip(images, labels.tolist(), *D(images, labels)[:2], strict=True):
        y = [float(k == label) for k in range(3)]
        pixels = [(x + 1) / 2 for x in image.flatten().tolist()]
        both = largest(linear(from_image, pixels), 2) + largest(linear(from_label, y), 2)
        joined = largest(linear(joint, both), 3)
        assert features.tolist() == pytest.approx(joined, rel=1e-9)
        assert logit.item() == pytest.approx(linear(head, joined)[0], rel=1e-9)


def test_first_gans_discriminator_is_its_equation(perturbed):
    spec = Spec(shape=(2, 2, 2))
    D = perturbed(discriminator(spec, MaxoutDiscriminator, units=[4, 3], pieces=2).double()).eval()
    first, second, head = linears(D)
    images = torch.rand(5, 2, 2, 2, dtype=torch.float64) * 2 - 1
    for image, logit, features in zip(images, *D(images, None)[:2], strict=True):
        pixels = [(x + 1) / 2 for x in image.flatten().tolist()]
        hidden = largest(linear(second, largest(linear(first, pixels), 2)), 2)
        assert features.tolist() == pytest.approx(hidden, rel=1e-9)
        assert logit.item() == pytest.approx(linear(head, hidden)[0], rel=1e-9)


def test_units_are_dropped_in_training_only():
    spec = Spec(shape=(1, 4, 4), condition=ClassCondition(tuple("abc")))
    images, labels = torch.rand(4, 1, 4, 4), torch.arange(4) % 3
    for network in (discriminator(spec), discriminator(spec, MaxoutDiscriminator)):
        assert not torch.equal(network(images, labels).features, network(images, labels).features)
        network.eval()
        assert torch.equal(network(images, labels).features, network(images, labels).features)
    whole = discriminator(spec, dropout=0), discriminator(spec, MaxoutDiscriminator, dropout=0, input_dropout=0)
    for network in whole:
        assert torch.equal(network(images, labels).logits, network(images, labels).logits)
