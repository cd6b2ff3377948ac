"""Generator: mlp."""

import math

import pytest
import torch
from torch import nn

from gankit import Spec
from gankit_plugins.generator.mlp import FullyConnectedGenerator, MlpGenerator


def test_network_is_its_equation(spec_of, roughen):
    """Compare with tanh of weighted sums of ReLU of weighted sums."""
    spec = spec_of(channels=2, resolution=2, latent_size=3)
    network = roughen(FullyConnectedGenerator(spec, [4, 5]).double())
    z = torch.randn(6, 3, dtype=torch.float64)
    images = network(z, None)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(3, 4), (4, 5), (5, 8)]
    for row, image in zip(z.tolist(), images, strict=True):
        values = row
        for number, layer in enumerate(layers):
            sums = [
                sum(w * x for w, x in zip(weights, values, strict=True)) + bias
                for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
            ]
            values = [math.tanh(s) for s in sums] if number == 2 else [max(s, 0.0) for s in sums]
        # Row by row of each channel.
        assert image[1, 0, 1].item() == pytest.approx(values[1 * 4 + 0 * 2 + 1], rel=1e-9)
        assert image.flatten().tolist() == pytest.approx(values, rel=1e-9)


def test_labels_are_not_looked_at(spec_of):
    network = FullyConnectedGenerator(spec_of(channels=1, resolution=4, classes=3, latent_size=3), [4])
    z = torch.randn(5, 3)
    assert torch.equal(network(z, torch.arange(5) % 3), network(z, None))


def test_spec_is_not_conditional():
    spec = Spec(classes=3)
    plugin = MlpGenerator(MlpGenerator.Config())
    assert not hasattr(plugin, "adjust_spec")
    assert plugin.build_generator(spec=spec)(torch.randn(2, 100), None).shape == (2, 3, 32, 32)
    assert (spec.conditional, spec.class_balanced) == (False, False)


def test_every_parameter_learns(spec_of):
    network = FullyConnectedGenerator(spec_of(channels=3, resolution=5, latent_size=3), [8, 8])
    (network(torch.randn(32, 3), None) * torch.randn(32, 3, 5, 5)).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in network.parameters())


def test_training_waits_for_nothing(spec_of, no_waiting):
    network = FullyConnectedGenerator(spec_of(channels=1, resolution=4, latent_size=3), [4])
    with no_waiting:
        network(torch.randn(5, 3), torch.arange(5)).sum().backward()
