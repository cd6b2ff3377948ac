"""How many networks lie side by side in one layer."""

from __future__ import annotations

from torch import nn


def groups_of(layer: nn.Module) -> int:
    """The groups of a convolution, or of the one inside a sequence; 1 for a layer that has none.

    A network for each class is one layer with as many groups. A normalisation that looks at several channels must
    stay within a group, or the classes would see one another.
    """
    return max((getattr(module, "groups", 1) for module in layer.modules()), default=1)
