"""Batch norm with statistics over the images of all ranks.

PyTorch's `SyncBatchNorm` requires GPUs and has no second derivative, which a gradient penalty needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gankit.runtime.ranks import mean_over_ranks


class SharedBatchNorm(_BatchNorm):
    """Batch norm with statistics over the images of all ranks. Its output has derivatives of any order.

    This layer replaces the batch norm layer `layer` and uses the same parameters and buffers. In evaluation mode, both
    layers have the same output. `ranks` is the number of ranks. Every rank must have the same number of images per
    batch.
    """

    def __init__(self, layer: _BatchNorm, ranks: int) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self.ranks = ranks
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.train(layer.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions, because this class replaces BatchNorm1d, BatchNorm2d and BatchNorm3d."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, ...). The result has the same shape and dtype.

        Statistics are computed in float32, or in float64 if x is float64.
        """
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            dims = tuple(d for d in range(x.dim()) if d != 1)
            mean = mean_over_ranks(wide.mean(dims, keepdim=True))
            centred = wide - mean
            variance = mean_over_ranks(centred.square().mean(dims, keepdim=True))
            self._update_running_statistics(mean.flatten(), variance.flatten(), x.numel() // x.shape[1])
            shape = (1, -1, *[1] * (x.dim() - 2))
            y = centred * (variance + self.eps).rsqrt()
            if self.affine:
                y = y * self.weight.view(shape) + self.bias.view(shape)
            return y.to(x.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked
        # The running variance is updated with the unbiased variance of the batch, as in PyTorch's batch norm.
        n = count * self.ranks
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (n / (n - 1)), momentum)


def convert_sync_batch_norm(network: nn.Module, ranks: int) -> nn.Module:
    """Replace every batch norm layer of a network by `SharedBatchNorm`, and return the network."""
    if isinstance(network, _BatchNorm):
        return SharedBatchNorm(network, ranks)
    for name, child in network.named_children():
        setattr(network, name, convert_sync_batch_norm(child, ranks))
    return network
