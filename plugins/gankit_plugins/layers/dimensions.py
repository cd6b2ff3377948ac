"""Number of spatial dimensions of a layer's output: 0 for vectors, 1 for audio, 2 for images, 3 for video."""

from __future__ import annotations

from torch import nn

ONE, THREE = (nn.Conv1d, nn.ConvTranspose1d), (nn.Conv3d, nn.ConvTranspose3d)


def dimensions_of(layer: nn.Module) -> int:
    """Return the number of dimensions of a layer's output, not counting batch and channels."""
    if isinstance(layer, nn.Linear):
        return 0
    return 1 if isinstance(layer, ONE) else 3 if isinstance(layer, THREE) else 2


BatchNorm = type[nn.BatchNorm1d] | type[nn.BatchNorm2d] | type[nn.BatchNorm3d]


def batch_norm_for(layer: nn.Module) -> BatchNorm:
    """Return the class of batch norm that accepts the output of a layer."""
    classes: dict[int, BatchNorm] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
    return classes.get(dimensions_of(layer), nn.BatchNorm1d)
