"""Pixelwise normalisation of feature vectors."""

from __future__ import annotations

from torch import nn

from gankit import Plugin, hookimpl
from gankit_plugins.layers.pixel_norm import PixelNorm


class PixelNormalization(Plugin):
    """Pixel norm: division of the feature vector at each pixel by its root mean square.

    Source: Karras 2017, section 4.2: b = a / sqrt(mean(a^2) + 1e-8), over all channels of a pixel, after each
    convolution of G. It has no parameters, and each image is normalised separately. For vectors, the mean is over all
    features. The paper applies it after leaky ReLU, as the generator `pggan` does. In other networks it is between the
    layer and its activation.

    When to use: in a generator, so that its features cannot grow without limit while it competes with D; with
    `generator` = `pggan`.
    When not: with one feature or few, whose vector it reduces to its direction.
    """

    name = "pixel_norm"
    kind = "normalization"

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        return nn.Sequential(layer, PixelNorm())
