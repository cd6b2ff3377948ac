"""Number of groups of a layer."""

from __future__ import annotations

from torch import nn


def conv_groups(layer: nn.Module) -> int:
    """Return the groups of a convolution, or of the convolution inside a sequence; 1 for other layers.

    The networks of several classes are the groups of one layer. A normalisation over several channels must not mix
    groups, because the images of a class would then depend on other classes.
    """
    return max((getattr(module, "groups", 1) for module in layer.modules()), default=1)
