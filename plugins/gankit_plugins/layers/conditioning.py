"""Labels as numbers that a network can read."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import InputError, Spec


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B,) int64 to (B, N) float32: 1 at the label's place, 0 elsewhere. Nothing waits for the device."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def with_planes(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(B, C, H, W) and (B,) to (B, C + N, H, W): a plane for each class, all 1 for the label's and all 0 for others."""
    B, _, H, W = images.shape
    planes = one_hot(labels, classes).to(images.dtype)[:, :, None, None].expand(B, classes, H, W)
    return torch.cat([images, planes], dim=1)


def refuse_unlabelled(spec: Spec, name: str, without: str) -> None:
    """Raises InputError when there are no classes for the network `name`, and says which one needs none."""
    if not spec.classes:
        raise InputError(f"{name} is told the classes and the images have none; {without} does without")
