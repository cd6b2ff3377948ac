"""Plugin for networks without normalisation."""

from __future__ import annotations

from torch import nn

from gankit import Plugin, hookimpl


class NoNormalization(Plugin):
    """No normalisation: the layers stay unchanged.

    Source: none.

    When to use: in a discriminator with a gradient penalty (Gulrajani 2017, section 4).
    When not: in a deep generator, which trains slowly without any normalisation.
    """

    name = "none"
    kind = "normalization"

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        return layer
