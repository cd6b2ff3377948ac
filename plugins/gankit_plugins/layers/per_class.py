"""Separate networks for N classes, computed as one network.

N networks of one architecture are one network of grouped convolutions: group k of its channels is the network of class
k. A batch with n images of each class becomes n rows of N groups. Row i contains the i-th image of each class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gankit import InputError


class Route(NamedTuple):
    """Row and group of each image."""

    slots: Tensor
    """(B,) int64: row * N + class of each image."""

    rows: int
    classes: int


def route(labels: Tensor, classes: int, balanced: bool) -> Route:
    """Return the row and the group of each image.

    Args:
        labels: (B,) int64.
        classes: N.
        balanced: whether every class has B / N images, as in training. Then the CPU does not wait for the device.
            Otherwise the most frequent class decides the number of rows, and other classes have empty rows.

    Raises:
        InputError: `balanced`, and B is not a multiple of N.
    """
    is_class = labels[:, None] == torch.arange(classes, device=labels.device)
    earlier = is_class.cumsum(0).gather(1, labels[:, None])[:, 0] - 1
    if not balanced:
        return Route(earlier * classes + labels, int(is_class.sum(0).max()), classes)
    if len(labels) % classes:
        raise InputError(
            f"train.batch_size: {len(labels)} images cannot be split evenly among {classes} classes; use a multiple of "
            f"{classes}"
        )
    return Route(earlier * classes + labels, len(labels) // classes, classes)


def to_groups(x: Tensor, routing: Route | None) -> Tensor:
    """Return x (B, C, ...) as (rows, N * C, ...), or unchanged if there is only one class and so no route.

    Raises:
        InputError: the batch is not balanced. A GPU reports it later, as a failed assertion.
    """
    if routing is None:
        return x
    empty = x.new_zeros(routing.rows * routing.classes, *x.shape[1:])
    try:
        filled = empty.index_copy(0, routing.slots, x)
    except IndexError as error:
        raise InputError(
            f"a training batch has more than {routing.rows} images of one of {routing.classes} classes; networks per "
            "class need train.class_balanced = true"
        ) from error
    return filled.reshape(routing.rows, routing.classes * x.shape[1], *x.shape[2:])


def from_groups(y: Tensor, routing: Route | None) -> Tensor:
    """Return y (rows, N * C, ...) as (B, C, ...), in the order of the images."""
    if routing is None:
        return y
    return y.reshape(routing.rows * routing.classes, y.shape[1] // routing.classes, *y.shape[2:]).index_select(
        0, routing.slots
    )
