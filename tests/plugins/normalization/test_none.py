"""Normalisation: none."""

from torch import nn

from gankit_plugins.normalization.none import NoNormalization


def test_layer_is_returned_unchanged():
    layer = nn.Conv2d(3, 6, 3)
    assert NoNormalization(NoNormalization.Config()).normalization(layer) is layer


def test_it_couples_no_batch():
    assert not NoNormalization.batch_coupled
