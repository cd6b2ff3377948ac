"""Normalisation: pixel norm."""

import pytest
import torch
from torch import nn

from gankit.testing import train_iterations
from gankit_plugins.normalization.pixel_norm import PixelNormalization


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv2d(3, 6, 3), (2, 3, 5, 4)), (nn.Linear(3, 6), (2, 3))])
def test_mean_square_over_channels_is_1_after_the_layer(layer, shape):
    x = torch.randn(shape)
    y = PixelNormalization(PixelNormalization.Config()).normalization(layer=layer)(x)
    torch.testing.assert_close(y.square().mean(1), torch.ones_like(y[:, 0]))
    torch.testing.assert_close(nn.functional.cosine_similarity(y, layer(x)), torch.ones_like(y[:, 0]))


def test_in_a_generator(start_run):
    run = start_run({"generator": {"use": "dcgan", "width": 4}, "normalization": {"generator": {"use": "pixel_norm"}}})
    train_iterations(run, 2)
