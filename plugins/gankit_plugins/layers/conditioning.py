"""Functions that append labels to the inputs of networks."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import InputError, Run, Spec


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels (B,) as one-hot vectors (B, N) in float32, without making the CPU wait for the device."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def append_label_planes(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Append one plane for each of the N classes to images (B, C, H, W). Return (B, C + N, H, W).

    The plane of the image's own class contains ones, and all other planes contain zeros.
    """
    B, _, H, W = images.shape
    planes = one_hot(labels, classes).to(images.dtype)[:, :, None, None].expand(B, classes, H, W)
    return torch.cat([images, planes], dim=1)


def require_labels(spec: Spec, name: str, other: str) -> None:
    """Raise InputError if the data has no classes. The message recommends the network `other` instead."""
    if not spec.classes:
        raise InputError(f"{name} needs labels, and the dataset has none; use {other}")


def require_conditional(spec: Spec, run: Run) -> None:
    """Raise an InputError if the run's generator does not use the labels."""
    if not spec.conditional:
        raise InputError(
            f"the generator {run.recipe.use_of('generator')} takes no labels, so it cannot generate the requested "
            'class; use conditional_dcgan, or set normalization.generator = "conditional_batch_norm"'
        )
