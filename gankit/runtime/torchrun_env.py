"""What torchrun says in the environment of the processes that it starts."""

from __future__ import annotations

import os
from typing import NamedTuple

from gankit.errors import InputError


class Place(NamedTuple):
    """Which of the processes started together this one is."""

    rank: int = 0
    size: int = 1
    """How many there are, on all machines."""

    local_rank: int = 0
    """Which of those on this machine."""

    local_size: int = 1


def place_of_process() -> Place:
    """The only process, unless several were started together.

    Raises InputError when what is said makes no sense.
    """
    said = os.environ
    # Other programs set one of them alone, which is not about this process.
    if not {"RANK", "WORLD_SIZE"} <= said.keys():
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
    """The rank; the first one, which tells the user what is wrong, where what is said makes no sense."""
    try:
        return place_of_process().rank
    except InputError:
        return 0


def _number(name: str, otherwise: int) -> int:
    said = os.environ.get(name, str(otherwise))
    if not said.isdecimal():
        raise InputError(f"{name}={said}: a whole number is wanted; torchrun sets it")
    return int(said)
