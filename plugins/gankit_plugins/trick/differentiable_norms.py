"""Normalisations that consist of elementary operations, and can be differentiated any number of times.

PyTorch computes wrong third derivatives of batch, instance and layer norm, without an error. The reason is that
PyTorch's second derivative treats the saved mean and standard deviation of the forward pass as constants. The third
derivatives of group norm are correct. The trick `unrolled_discriminator` needs third derivatives if D has a gradient
penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def standardize(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """Return `(x - mean) / sqrt(variance + eps)` in float32 or a wider type. Mean and variance are over `dims`."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


def _scale_channels(x: Tensor, like: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    x = x if weight is None else x * weight.reshape(shape)
    return (x if bias is None else x + bias.reshape(shape)).to(like.dtype)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Compute batch norm like `torch.nn.functional.batch_norm`, but never update the running statistics."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    dims = tuple(d for d in range(input.dim()) if d != 1)
    return _scale_channels(standardize(input, dims, eps), input, weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Compute instance norm like `torch.nn.functional.instance_norm`, but never update the running statistics."""
    if not use_input_stats:
        return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    return _scale_channels(standardize(input, tuple(range(2, input.dim())), eps), input, weight, bias)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Compute layer norm like `torch.nn.functional.layer_norm`, but from elementary operations."""
    x = standardize(input, tuple(range(-len(normalized_shape), 0)), eps)
    x = x if weight is None else x * weight
    return (x if bias is None else x + bias).to(input.dtype)


class DifferentiableNorms(TorchFunctionMode):
    """Context manager that replaces PyTorch's batch, instance and layer norm by the functions of this module."""

    REPLACEMENTS: dict[Callable[..., Any], Callable[..., Tensor]] = {
        F.batch_norm: batch_norm,
        F.instance_norm: instance_norm,
        F.layer_norm: layer_norm,
    }

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))
