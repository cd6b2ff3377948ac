"""A discriminator whose last layer is given more than its own features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gankit import DiscriminatorOutput

if TYPE_CHECKING:
    from gankit import Run


class Widened(nn.Module):
    """D with further features, of which a linear layer adds its share to the logits.

    A last layer that is linear in its features, as most are, thereby becomes one over all of them. Its share begins at
    0: further features may be large and all alike, and would decide every answer before D has learnt anything.

    Args:
        network: D, to logits (B,) and features (B, F).
        further: from the features (B, F) and the labels (B,) or None to further ones, (B, K).
        count: K.
    """

    def __init__(self, network: nn.Module, further: nn.Module, count: int) -> None:
        super().__init__()
        self.network = network
        self.further = further
        self.share = nn.Linear(count, 1, bias=False)
        nn.init.zeros_(self.share.weight)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """(B, C, R, R) and (B,) to logits (B,) and features (B, F + K)."""
        logits, features = self.network(images, labels)
        more = self.further(features, labels)
        share = self.share(more.to(self.share.weight.dtype))
        return DiscriminatorOutput(
            logits + share.flatten().to(logits.dtype), torch.cat([features, more.to(features.dtype)], 1)
        )


def feature_count(network: nn.Module, run: Run) -> int:
    """F, the number of features D gives for an image. Nothing is learnt from being asked."""
    spec, weight = run.spec, next(network.parameters())
    count = max(2, spec.classes)
    images = torch.zeros(count, spec.channels * spec.pack, spec.resolution, spec.resolution, device=weight.device)
    labels = torch.arange(count, device=weight.device) if spec.classes else None
    training = network.training
    network.eval()
    with torch.no_grad():
        _, features = network(images, labels)
    network.train(training)
    return features.shape[1]


def same_class(labels: Tensor) -> Tensor:
    """(B, B) bool: which images of a batch are of one class, from labels (B,)."""
    return labels[:, None] == labels
