"""Discriminator with additional features as inputs of its last layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit import DiscriminatorOutput, match_logits


class ExtendedFeatures(nn.Module):
    """Discriminator with additional features and a linear layer that adds their contribution to the logits.

    If D's last layer is linear, the logits are the output of one linear layer over original and additional features.

    Args:
        network: D, with logits (B, ...) and features (B, F).
        further: module that maps features (B, F) and labels, (B,) or None, to additional features (B, K).
        count: K, number of additional features.
    """

    def __init__(self, network: nn.Module, further: nn.Module, count: int) -> None:
        super().__init__()
        self.network = network
        self.further = further
        self.share = nn.Linear(count, 1, bias=False)
        # The weights start at 0. With random weights, large additional features would dominate the first logits.
        nn.init.zeros_(self.share.weight)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B, ...) and features (B, F + K) for images (B, C, H, W) and labels, (B,) or None."""
        output = DiscriminatorOutput(*self.network(images, labels))
        logits, features = output.logits, output.features
        more = self.further(features, labels)
        share = self.share(more.to(self.share.weight.dtype)).flatten().to(logits.dtype)
        return output._replace(
            logits=logits + match_logits(share, logits), features=torch.cat([features, more.to(features.dtype)], 1)
        )


def same_class(labels: Tensor) -> Tensor:
    """Return a bool tensor (B, B) from labels (B,): True for pairs of images of the same class."""
    return labels[:, None] == labels
