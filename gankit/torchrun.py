"""What torchrun says in the environment of the processes that it starts."""

from __future__ import annotations

import os
from typing import NamedTuple


class Place(NamedTuple):
    """Which of the processes started together this one is."""

    rank: int = 0
    size: int = 1
    """How many there are, on all machines."""

    local_rank: int = 0
    """Which of those on this machine."""

    local_size: int = 1


def place_of_process() -> Place:
    """The only process, unless several were started together."""
    said = os.environ
    size = int(said.get("WORLD_SIZE", "1"))
    # Other programs set the number alone; without a rank it is not about this process.
    if size == 1 or "RANK" not in said:
        return Place()
    rank = int(said["RANK"])
    return Place(rank, size, int(said.get("LOCAL_RANK", rank)), int(said.get("LOCAL_WORLD_SIZE", size)))
