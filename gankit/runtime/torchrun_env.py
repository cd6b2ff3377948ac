"""Rank of this process and number of ranks, from the environment variables that torchrun sets."""

from __future__ import annotations

import os
from typing import NamedTuple

from gankit.errors import InputError


class Place(NamedTuple):
    """Rank of a process and number of ranks, in the whole run and on the machine of the process."""

    rank: int = 0
    size: int = 1
    """Number of ranks on all machines together."""

    local_rank: int = 0
    """Rank of the process among the processes on the same machine."""

    local_size: int = 1
    """Number of ranks on the same machine."""


def place_of_process() -> Place:
    """Return the rank of this process and the number of ranks. Without torchrun, they are 0 and 1.

    Raises:
        InputError: the environment variables contradict each other.
    """
    # Some other programs set only RANK or only WORLD_SIZE. In this case, torchrun did not start the process.
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return Place()
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if rank >= size:
        raise InputError(f"RANK={rank} WORLD_SIZE={size}: the ranks are 0 to {size - 1}; torchrun sets both")
    if size == 1:
        return Place()
    local_rank, local_size = _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", size)
    if not local_rank < local_size <= size:
        raise InputError(
            f"WORLD_SIZE={size}, but this is rank {local_rank} of {local_size} on its machine (LOCAL_RANK, "
            "LOCAL_WORLD_SIZE); torchrun sets them all"
        )
    return Place(rank, size, local_rank, local_size)


def rank_of_process() -> int:
    """Return the rank of this process.

    If torchrun's variables contradict each other, return 0, because only rank 0 shows errors.
    """
    try:
        return place_of_process().rank
    except InputError:
        return 0


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise InputError(f"{name}={value}: it must be a whole number; torchrun sets it")
    return int(value)
