"""Labels as additional inputs of networks."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import InputError, Spec


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels (B,) as one-hot vectors (B, N) in float32. The CPU does not wait for the device."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def append_label_planes(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return images (B, C + N, H, W) with one plane for each class: ones for the image's class, otherwise zeros."""
    B, _, H, W = images.shape
    planes = one_hot(labels, classes).to(images.dtype)[:, :, None, None].expand(B, classes, H, W)
    return torch.cat([images, planes], dim=1)


def require_labels(spec: Spec, name: str, alternative: str) -> None:
    """Raise an InputError that recommends `alternative`, a network without labels, if the data has no classes."""
    if not spec.classes:
        raise InputError(f"{name} needs labels, and the dataset has none; use {alternative}")
