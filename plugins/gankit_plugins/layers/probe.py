"""Output of a discriminator for fixed images, to read its shapes."""

from __future__ import annotations

import math

import torch
from torch import nn

from gankit import DiscriminatorOutput, Run

COUNT = 2
"""Number of images. One would be too few for layers that compare the images of a batch."""


@torch.no_grad()
def probe(network: nn.Module, run: Run, shift: int = 0) -> DiscriminatorOutput:
    """Return the output of a discriminator for fixed images. If there are K classes, image i has class i + shift mod K.

    The network is not changed: it runs in evaluation mode, because batch norm in training mode would update its
    statistics.
    """
    spec, device = run.spec, next(network.parameters()).device
    shape = (COUNT, spec.channels * spec.pack, *spec.shape[1:])
    images = torch.linspace(-1, 1, math.prod(shape), device=device).view(shape)
    second = None
    if spec.latent_pairs:
        second = torch.zeros(COUNT, spec.latent_size, device=device)
    elif spec.classes:
        second = (torch.arange(COUNT, device=device) + shift) % spec.classes
    elif spec.condition is not None:
        second = spec.condition.blank(COUNT).to(device)
    training = network.training
    network.eval()
    output = DiscriminatorOutput(*network(images, second))
    network.train(training)
    return output


def feature_count(network: nn.Module, run: Run) -> int:
    """Return F, the number of features in the output of a discriminator."""
    return probe(network, run).features.shape[1]
