"""Functions that append labels to the inputs of networks."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import InputError, Spec


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels (B,) as one-hot vectors (B, N) in float32, without making the CPU wait for the device."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def append_label_planes(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return images with one plane per class appended, (B, C + N, H, W): 1 for the image's class, 0 for the others."""
    B, _, H, W = images.shape
    planes = one_hot(labels, classes).to(images.dtype)[:, :, None, None].expand(B, classes, H, W)
    return torch.cat([images, planes], dim=1)


def require_labels(spec: Spec, name: str, alternative: str) -> None:
    """Raise an InputError if the data has no classes. It recommends `alternative`, a network that needs no labels."""
    if not spec.classes:
        raise InputError(f"{name} needs labels, and the dataset has none; use {alternative}")
