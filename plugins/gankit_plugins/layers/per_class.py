"""Images of N classes through N networks at once.

N networks of one shape are one network of grouped convolutions: group k of its channels is the network of class k.
A batch in which every class has n images becomes n rows of N groups; row i holds the i-th image of each class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gankit import InputError


class Route(NamedTuple):
    """Which image sits in which row and group."""

    slots: Tensor
    """(B,) int64: row * N + class of each image."""

    rows: int
    classes: int


def route(labels: Tensor, classes: int, balanced: bool) -> Route:
    """Finds every image its row and group.

    Args:
        labels: (B,) int64.
        classes: N.
        balanced: every class has B / N images, as in training; nothing then waits for the device. Otherwise the
            most frequent class decides the number of rows, and the others' spare places stay empty.

    Raises:
        InputError: `balanced`, and B is no multiple of N.
    """
    is_class = labels[:, None] == torch.arange(classes, device=labels.device)
    earlier = is_class.cumsum(0).gather(1, labels[:, None])[:, 0] - 1
    if not balanced:
        return Route(earlier * classes + labels, int(is_class.sum(0).max()), classes)
    if len(labels) % classes:
        raise InputError(
            f"{len(labels)} images cannot be shared evenly among {classes} classes; a training batch by class is a "
            f"multiple of {classes}"
        )
    return Route(earlier * classes + labels, len(labels) // classes, classes)


def to_groups(x: Tensor, way: Route | None) -> Tensor:
    """(B, C, ...) to (rows, N * C, ...); as it is when there is but one class and so no way to go.

    Raises InputError when the labels of a batch said to be balanced are not. (A GPU reports that as a failed
    assertion, later.)
    """
    if way is None:
        return x
    places = x.new_zeros(way.rows * way.classes, *x.shape[1:])
    try:
        filled = places.index_copy(0, way.slots, x)
    except IndexError as error:
        raise InputError(
            f"a training batch holds more than {way.rows} images of one of {way.classes} classes; networks by class "
            "need train.class_balanced batches"
        ) from error
    return filled.reshape(way.rows, way.classes * x.shape[1], *x.shape[2:])


def from_groups(y: Tensor, way: Route | None) -> Tensor:
    """(rows, N * C, ...) back to (B, C, ...), in the order of the images."""
    if way is None:
        return y
    return y.reshape(way.rows * way.classes, y.shape[1] // way.classes, *y.shape[2:]).index_select(0, way.slots)
