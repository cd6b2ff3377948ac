"""Output of a discriminator for fixed images."""

from types import SimpleNamespace

import torch
from torch import nn

from gankit import Spec
from gankit.testing import tiny_run
from gankit_plugins.discriminator.bigan import BiganDiscriminator
from gankit_plugins.layers.probe import FeatureMap, feature_count, feature_maps, probe


def test_probe_does_not_change_the_network():
    run = tiny_run({}, {"data": {"classes": 3}, "normalization": {"discriminator": {"use": "batch_norm"}}})
    before = {name: value.clone() for name, value in run.discriminator.state_dict().items()}
    output = probe(run.discriminator, run)
    assert output.features.shape == (2, feature_count(run.discriminator, run))
    assert run.discriminator.training
    assert all(torch.equal(value, before[name]) for name, value in run.discriminator.state_dict().items())
    # The tiny discriminator adds a projection of the label to its logits, but not to its features.
    other = probe(run.discriminator, run, shift=1)
    assert torch.equal(output.features, other.features)
    assert not torch.equal(output.logits, other.logits)


def test_discriminator_of_pairs_gets_z():
    run = tiny_run({BiganDiscriminator: {"units": 5, "encoder_units": 4}})
    assert feature_count(run.discriminator, run) == 5


class Block(nn.Module):
    """Residual block with several layers of its own."""

    def __init__(self):
        super().__init__()
        self.long, self.short = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        return nn.functional.avg_pool2d(self.long(x) + self.short(x), 2)


class Encoder(nn.Module):
    """Layers of several sizes in one module with its own `forward`, and an activation that is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.activation = nn.Sequential(Block(), Block()), Block(), nn.ReLU()

    def forward(self, x):
        return self.activation(self.last(self.activation(self.first(x))))


class Discriminator(nn.Module):
    """Discriminator for images of 16x16 with two channels."""

    def __init__(self):
        super().__init__()
        self.input, self.encoder, self.head = nn.Identity(), Encoder(), nn.Linear(8, 1)

    def forward(self, images, labels):
        features = self.encoder(self.input(images)).flatten(1)
        return self.head(features).flatten(), features


def test_feature_maps_are_those_of_blocks():
    network, spec = Discriminator(), Spec(shape=(2, 16, 16))
    maps = feature_maps(network, "discriminator", spec, SimpleNamespace(spec=spec))
    assert maps == [
        FeatureMap("encoder.first.0", 2, (8, 8)),
        FeatureMap("encoder.first.1", 2, (4, 4)),
        FeatureMap("encoder.last", 2, (2, 2)),
        FeatureMap("encoder", 2, (2, 2)),
    ]
    assert not any(module._forward_hooks for module in network.modules())
