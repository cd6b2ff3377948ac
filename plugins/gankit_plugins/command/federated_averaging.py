"""Equations of federated averaging: the weighted mean of the clients, and the division of a dataset among clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from gankit import InputError, weighted_average

Split = Literal["equal", "classes", "amounts"]


def weighted_mean(states: Sequence[Mapping[str, Tensor]], counts: Sequence[int]) -> dict[str, Tensor]:
    """Return the mean w = sum_k (n_k / n) w_k of the clients' tensors, by name.

    Args:
        states: tensors w_k of each client, by name.
        counts: number of samples n_k of each client. n is their sum.

    Source: McMahan 2017, algorithm 1 (FedAvg).
    """
    return weighted_average(states, [n / sum(counts) for n in counts])


def split_rows(count: int, labels: Tensor | None, clients: int, split: Split, seed: int) -> list[Tensor]:
    """Divide the rows 0 to `count` - 1 among clients. Each row belongs to exactly one client.

    Args:
        count: number of rows, N.
        labels: class indices (N,), or None for data without classes.
        clients: number of clients, K.
        split: `equal` for random parts of equal size, with the same share of each class; `classes` for parts of equal
            size of the rows in the order of their classes, so that each client has few classes; `amounts` for random
            parts with sizes in the ratio 1 : 2 : ... : K.
        seed: seed of the random order.

    Returns:
        Row indices of each client, in ascending order. One client has all rows in their order.

    Raises:
        InputError: there are too few rows, or the data have no classes.

    Source: McMahan 2017, section 3, for the parts by class.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    if split == "classes" and labels is None:
        raise InputError("--split classes: the data have no classes; give --split equal or amounts")
    if split != "amounts" and labels is not None:
        order = order[labels.cpu()[order].argsort(stable=True)]
    if split == "equal":
        parts = [order[k::clients] for k in range(clients)]
    elif split == "classes":
        parts = list(order.tensor_split([count * k // clients for k in range(1, clients)]))
    else:
        unit = clients * (clients + 1)
        parts = list(order.tensor_split([count * k * (k + 1) // unit for k in range(1, clients)]))
    parts = [part.sort().values for part in parts]
    if not all(len(part) for part in parts):
        raise InputError(
            f"--clients {clients}: there are only {count} images, so a client has none; give fewer clients"
        )
    return parts
