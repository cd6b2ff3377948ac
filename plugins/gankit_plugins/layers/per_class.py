"""Separate networks for N classes, computed as one network.

N networks of the same architecture are computed as one network of grouped convolutions. Channel group k of this network
is the network of class k. A batch with n images of each class becomes a batch of n rows. Row i contains the i-th image
of each class, in the channel group of this class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gankit import InputError


class Route(NamedTuple):
    """Position of each image of a batch in the input of the combined network (the networks of all classes together).

    A position consists of a row and a channel group. The channel group is the image's class, and the row is the image's
    index among the images of this class.
    """

    slots: Tensor
    """Index of each image in the flattened (rows, N) layout, (B,) int64: row * N + class, for N classes."""

    rows: int
    classes: int


def route(labels: Tensor, classes: int, balanced: bool) -> Route:
    """Return the position of each image in the input of the combined network: its row and its channel group.

    Args:
        labels: labels of the images, (B,) int64.
        classes: N, number of classes.
        balanced: True if every class has B / N images, as in training. B must then be a multiple of N. The number of
            rows is B / N, so the CPU does not wait for a count from the GPU. If False, there are as many rows
            as images of the most frequent class. The groups of other classes may be empty in some rows. In an
            exported graph, there are as many rows as images.
    """
    is_class = labels[:, None] == torch.arange(classes, device=labels.device)
    earlier = is_class.cumsum(0).gather(1, labels[:, None])[:, 0] - 1
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        # The sizes in an exported graph must not depend on values. At most, every image needs its own row.
        return Route(earlier * classes + labels, labels.shape[0], classes)
    if not balanced:
        return Route(earlier * classes + labels, int(is_class.sum(0).max()), classes)
    if len(labels) % classes:
        raise InputError(
            f"train.batch_size: {len(labels)} images cannot be split evenly among {classes} classes; use a multiple of "
            f"{classes}"
        )
    return Route(earlier * classes + labels, len(labels) // classes, classes)


def to_groups(x: Tensor, routing: Route | None) -> Tensor:
    """Rearrange x (B, C, ...) to (rows, N * C, ...), with one group of channels for each of N classes.

    A row holds at most one image of each class. The groups of classes without an image in this row contain zeros. If
    `routing` is None, there is only one network, and x is returned unchanged. A training batch with unequal numbers of
    images per class raises an InputError on the CPU, and causes a device-side assertion failure on a GPU.
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
    """Rearrange y (rows, N * C, ...) to (B, C, ...), in the order of the images: the inverse of `to_groups`."""
    if routing is None:
        return y
    return y.reshape(routing.rows * routing.classes, y.shape[1] // routing.classes, *y.shape[2:]).index_select(
        0, routing.slots
    )
