"""Batch norm over the images of all ranks.

torch's own `SyncBatchNorm` wants GPUs and has no second derivative, which a gradient penalty needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gankit.runtime.ranks import mean_over_ranks


class SharedBatchNorm(_BatchNorm):
    """A batch norm whose statistics are of every rank's images, differentiable any number of times.

    Its state is that of the layer in whose place it stands, and in evaluation mode it does the same.

    Args:
        like: that layer, whose parameters and buffers become its own.
        ranks: how many share a batch, each an equal part of it.
    """

    def __init__(self, like: _BatchNorm, ranks: int) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        self.ranks = ranks
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self.train(like.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """The layer in whose place it stands may be of any dimension."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape and type; the statistics are in float32 at least."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            others = tuple(d for d in range(x.dim()) if d != 1)
            mean = mean_over_ranks(wide.mean(others, keepdim=True))
            centred = wide - mean
            variance = mean_over_ranks(centred.square().mean(others, keepdim=True))
            self._remember(mean.flatten(), variance.flatten(), x.numel() // x.shape[1])
            shape = (1, -1, *[1] * (x.dim() - 2))
            y = centred * (variance + self.eps).rsqrt()
            if self.affine:
                y = y * self.weight.view(shape) + self.bias.view(shape)
            return y.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """The running statistics, of which the variance is that of all images as if they were a sample."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        newest = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked
        n = count * self.ranks
        self.running_mean.lerp_(mean, newest)
        self.running_var.lerp_(variance * (n / (n - 1)), newest)


def convert_sync_batch_norm(network: nn.Module, ranks: int) -> nn.Module:
    """The network with every batch norm's statistics taken over all ranks."""
    if isinstance(network, _BatchNorm):
        return SharedBatchNorm(network, ranks)
    for name, child in network.named_children():
        setattr(network, name, convert_sync_batch_norm(child, ranks))
    return network
