"""Output of a discriminator for fixed images, to read its shapes."""

from __future__ import annotations

import math

import torch
from torch import nn

from gankit import DiscriminatorOutput, Run


@torch.no_grad()
def probe(network: nn.Module, run: Run, shift: int = 0) -> DiscriminatorOutput:
    """Return the output of a discriminator for fixed images. Image i has the class i + `shift`, modulo K.

    The network is not changed: it runs in evaluation mode, because batch norm in training mode would update its
    statistics.
    """
    spec, device = run.spec, next(network.parameters()).device
    shape = (max(2, spec.classes), spec.channels * spec.pack, *spec.shape[1:])
    images = torch.linspace(-1, 1, math.prod(shape), device=device).view(shape)
    labels = (torch.arange(len(images), device=device) + shift) % spec.classes if spec.classes else None
    training = network.training
    network.eval()
    output = DiscriminatorOutput(*network(images, labels))
    network.train(training)
    return output
