"""Output of a discriminator for images without content, to read its shapes."""

from __future__ import annotations

import torch
from torch import nn

from gankit import DiscriminatorOutput, Run


@torch.no_grad()
def probe(network: nn.Module, run: Run) -> DiscriminatorOutput:
    """Return the output of a discriminator for grey images, one of each class. The network is not changed.

    The network runs in evaluation mode, because batch norm in training mode would update its statistics.
    """
    spec, device = run.spec, next(network.parameters()).device
    count = max(2, spec.classes)
    images = torch.zeros(count, spec.channels * spec.pack, *spec.shape[1:], device=device)
    labels = torch.arange(count, device=device) if spec.classes else None
    training = network.training
    network.eval()
    output = DiscriminatorOutput(*network(images, labels))
    network.train(training)
    return output
