"""Pixelwise normalisation of feature vectors."""

from __future__ import annotations

from torch import nn

from gankit import Plugin, hookimpl
from gankit_plugins.layers.pixel_norm import PixelNorm


class PixelNormalization(Plugin):
    """Pixel norm: division of the feature vector at each pixel by its root mean square.

    Source: Karras 2017, section 4.2: `b = a / sqrt(mean(a^2) + 1e-8)` after each convolution of G. The mean is over all
    channels of a pixel. Pixel norm has no parameters, and each image is normalised separately. For vectors, the mean is
    over all features. The paper applies pixel norm after leaky ReLU, as the generator `pggan` does. In other networks,
    pixel norm comes before the activation.

    When to use: in a generator such as `pggan`, to prevent the features from growing without limit in the competition
    with D.
    When not: with very few features, because pixel norm keeps only the direction of the feature vector.
    """

    name = "pixel_norm"
    kind = "normalization"

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        return nn.Sequential(layer, PixelNorm())
