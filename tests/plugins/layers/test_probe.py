"""Output of a discriminator for fixed images."""

import torch

from gankit.testing import tiny_run
from gankit_plugins.discriminator.bigan import BiganDiscriminator
from gankit_plugins.layers.probe import feature_count, probe


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
