"""Both fully connected networks: their equations and sizes."""

import math

import pytest
import torch
from torch import nn

from gankit_plugins.discriminator.mlp import FullyConnectedDiscriminator
from gankit_plugins.generator.mlp import FullyConnectedGenerator


def layers_of(network, values, slope):
    """Return the outputs of each layer for a list of inputs, number by number."""
    outputs = []
    for layer in (module for module in network.modules() if isinstance(module, nn.Linear)):
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        sums = [sum(w * x for w, x in zip(weights, values, strict=True)) + bias for weights, bias in rows]
        values = [s if s > 0 else slope * s for s in sums]
        outputs.append((sums, values))
    assert [len(sums) for sums, _ in outputs[:2]] == [4, 5]
    return outputs


def test_generator_is_its_equation(spec_of, perturbed):
    network = perturbed(FullyConnectedGenerator(spec_of(channels=2, resolution=2, latent_size=3), [4, 5]).double())
    z = torch.randn(6, 3, dtype=torch.float64)
    for row, image in zip(z.tolist(), network(z, None), strict=True):
        _, _, (sums, _) = layers_of(network, row, slope=0.0)
        # Row by row of each channel.
        assert image[1, 0, 1].item() == pytest.approx(math.tanh(sums[1 * 4 + 0 * 2 + 1]), rel=1e-9)
        assert image.flatten().tolist() == pytest.approx([math.tanh(s) for s in sums], rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_discriminator_is_its_equation(spec_of, perturbed, slope):
    network = perturbed(FullyConnectedDiscriminator(spec_of(channels=2, resolution=2), [4, 5], slope).double())
    images = torch.randn(6, 2, 2, 2, dtype=torch.float64)
    for image, logit, features in zip(images, *network(images, None)[:2], strict=True):
        _, (_, values), (sums, _) = layers_of(network, image.flatten().tolist(), slope)
        assert features.tolist() == pytest.approx(values, rel=1e-9)
        assert [logit.item()] == pytest.approx(sums, rel=1e-9)
