"""Discriminator: mlp."""

import pytest
import torch
from torch import nn

from gankit_plugins.discriminator.mlp import FullyConnectedDiscriminator


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_network_is_its_equation(spec_of, roughen, slope):
    """Weighted sums of weighted sums, those below 0 times the slope, number by number."""
    network = roughen(FullyConnectedDiscriminator(spec_of(channels=2, resolution=2), [4, 5], slope).double())
    images = torch.randn(6, 2, 2, 2, dtype=torch.float64)
    judgement = network(images, None)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(8, 4), (4, 5), (5, 1)]
    for image, logit, features in zip(images, *judgement, strict=True):
        values = image.flatten().tolist()
        for number, layer in enumerate(layers):
            if number == 2:
                assert features.tolist() == pytest.approx(values, rel=1e-9)
            sums = [
                sum(w * x for w, x in zip(weights, values, strict=True)) + bias
                for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
            ]
            values = sums if number == 2 else [s if s > 0 else slope * s for s in sums]
        assert [logit.item()] == pytest.approx(values, rel=1e-9)


def test_labels_are_not_looked_at(spec_of):
    network = FullyConnectedDiscriminator(spec_of(channels=1, resolution=4, classes=3), [4], 0.2)
    images = torch.randn(5, 1, 4, 4)
    assert torch.equal(network(images, torch.arange(5) % 3).logits, network(images, None).logits)


def test_logits_of_an_image_do_not_depend_on_the_batch(spec_of):
    network = FullyConnectedDiscriminator(spec_of(channels=1, resolution=4), [4], 0.2).double()
    images = torch.randn(5, 1, 4, 4, dtype=torch.float64)
    alone = torch.cat([network(image[None], None).logits for image in images])
    torch.testing.assert_close(network(images, None).logits, alone)


def test_memory_format_changes_nothing(spec_of):
    network = FullyConnectedDiscriminator(spec_of(channels=3, resolution=4), [4], 0.2)
    images = torch.randn(5, 3, 4, 4)
    same = network(images.to(memory_format=torch.channels_last), None).logits
    torch.testing.assert_close(same, network(images, None).logits)


def test_training_waits_for_nothing(spec_of, no_waiting):
    network = FullyConnectedDiscriminator(spec_of(channels=1, resolution=4), [4], 0.2)
    with no_waiting:
        network(torch.randn(5, 1, 4, 4), torch.arange(5)).logits.sum().backward()
    assert all(p.grad.abs().max() > 0 for p in network.parameters())
