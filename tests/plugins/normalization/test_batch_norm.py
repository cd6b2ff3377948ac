"""Normalisations `batch_norm` and `none`."""

import pytest
import torch
from torch import nn

from gankit_plugins.normalization.batch_norm import BatchNorm
from gankit_plugins.normalization.none import NoNormalization


def normalized(layer, features, **settings):
    return BatchNorm(BatchNorm.Config(**settings)).normalization(layer, features)


LAYERS = [
    (nn.Conv2d(3, 6, 3), (8, 3, 7, 7), (0, 2, 3)),
    (nn.ConvTranspose2d(3, 6, 4, stride=2), (8, 3, 5, 5), (0, 2, 3)),
    (nn.Sequential(nn.Conv2d(3, 24, 1), nn.PixelShuffle(2)), (8, 3, 5, 5), (0, 2, 3)),
    (nn.Linear(3, 6), (8, 3), (0,)),
]


@pytest.mark.parametrize(("layer", "shape", "over"), LAYERS, ids=["conv", "transposed", "pixel shuffle", "linear"])
def test_each_channel_is_normalised_over_the_batch_in_training_mode(layer, shape, over):
    torch.manual_seed(0)
    x = 3 * torch.randn(shape) + 1
    raw = layer(x)
    mean, var = raw.mean(over, keepdim=True), raw.var(over, correction=0, keepdim=True)
    torch.testing.assert_close(
        normalized(layer, 6, eps=0.01)(x), (raw - mean) / (var + 0.01).sqrt(), rtol=1e-4, atol=1e-5
    )


def test_running_averages_are_used_in_evaluation_mode():
    torch.manual_seed(0)
    layer, x = nn.Linear(3, 6), torch.randn(8, 3)
    network = normalized(layer, 6, momentum=0.25)
    network(x)
    raw = layer(x)
    mean, var = 0.25 * raw.mean(0), 0.75 + 0.25 * raw.var(0, correction=1)
    network.eval()
    torch.testing.assert_close(network(x), (raw - mean) / (var + 1e-5).sqrt(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(x[:1]), network(x)[:1])


def test_only_batch_norm_couples_the_batch():
    assert BatchNorm.batch_coupled
    assert not NoNormalization.batch_coupled


def test_layer_without_normalisation_is_returned_unchanged():
    layer = nn.Linear(3, 6)
    assert NoNormalization(NoNormalization.Config()).normalization(layer) is layer
