"""Number of groups of a convolution."""

from __future__ import annotations

from torch import nn


def conv_groups(layer: nn.Module) -> int:
    """Return the number of groups of a convolution, or of the convolution in an `nn.Sequential`, else 1.

    Separate networks for each class are computed as grouped convolutions with one group per class. A normalisation over
    several channels must not mix groups, because the images of one class would then depend on other classes.
    """
    return max((getattr(module, "groups", 1) for module in layer.modules()), default=1)
