"""Class logits of a discriminator, cross entropy of the class, and names of the labels of semi-supervised data."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gankit import DiscriminatorOutput

CLASS_LOGITS = "class_logits"
"""Name of the class logits (B, K) in `DiscriminatorOutput.extra`."""

LABEL, UNLABELLED = "label", -1
"""Name of the field with the labels (N,) of data with few labels, and label of an image whose class is not known."""

CLASSES = "classes"
"""Key of the class names in `Dataset.encoding` of data with few labels, and in `Spec.encoding`."""


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return -E[ln P(C = c | X)] in nats, a scalar, for class logits (B, K) and classes c (B,) (Odena 2016, eq. 3)."""
    return F.cross_entropy(logits.float(), labels)


class ClassifyingDiscriminator(nn.Module):
    """Discriminator with an additional linear layer that maps D's features (B, F) to class logits (B, K)."""

    def __init__(self, network: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.network = network
        self.class_head = nn.Linear(features, classes)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return the output of D for images (B, C, H, W) and labels (B,), with class logits as an additional entry."""
        output = DiscriminatorOutput(*self.network(images, labels))
        return output._replace(extra={**output.extra, CLASS_LOGITS: self.class_head(output.features)})
