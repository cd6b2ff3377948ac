"""Scale and shift of feature maps, computed from a vector for each image, such as a part of z and a class embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit_plugins.layers.residual import glorot


def scale_and_shift(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return `scale * x + shift`, with the shape and the data type of x.

    Args:
        x: normalised feature maps (B, C, H, W) or vectors (B, C).
        scale: scale of each channel, (B, C).
        shift: shift of each channel, (B, C).
    """
    shape = (*x.shape[:2], *[1] * (x.dim() - 2))
    return torch.addcmul(shift.to(x.dtype).view(shape), x, scale.to(x.dtype).view(shape))


class CurrentVectors:
    """Holder of the current vectors (B, N), one for each image. Layers read the vectors during a forward pass."""

    vectors: Tensor | None = None


class Modulation(nn.Module):
    """Layer that scales and shifts feature maps. Scale and shift are linear functions of a vector for each image.

    The linear functions have no biases. A vector of zeros gives scale 1 and shift 0.

    Args:
        source: holder of the current vectors.
        size: N, size of a vector.
        features: C, number of channels.

    Source: Brock 2018, appendix B.
    """

    def __init__(self, source: CurrentVectors, size: int, features: int) -> None:
        super().__init__()
        self.source = source
        self.scale, self.shift = (glorot(nn.Linear(size, features, bias=False)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift x, (B, C, H, W) or (B, C). The shape does not change.

        Scale and shift are computed from the current vectors in `source`.
        """
        vectors = self.source.vectors
        assert vectors is not None, "the layer is called by its generator, which sets the vectors"
        return scale_and_shift(x, 1 + self.scale(vectors), self.shift(vectors))


def without_scale_and_shift(norm: nn.Module) -> nn.Module:
    """Remove the trained scales and shifts of PyTorch's normalisation layers from a module, and return the module.

    These scales and shifts are redundant if a `Modulation` follows.
    """
    for module in norm.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm):
            module.affine = False
            for name in ("weight", "bias"):
                module.register_parameter(name, None)
    return norm
