"""One rank of a run, started by torchrun. Prints the median milliseconds of an iteration.

torchrun --nproc-per-node 2 benchmarks/growth_rank.py BATCH_SIZE ITERATIONS
"""

from __future__ import annotations

import statistics
import sys

from growth import dcgan
from timing import timed

from gankit.runtime.ranks import current_ranks
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.update import train_iteration


def train(batch_size: int, iterations: int) -> None:
    recipe = dcgan(batch_size=batch_size, resolution=28, width=32)
    prepare_torch(recipe)
    ranks = current_ranks()
    run = assemble(recipe, ranks=ranks)
    run.load_data()
    run.ranks.broadcast_(state for network in run.networks.values() for state in network.state_dict().values())
    for _ in range(2):
        train_iteration(run)
    seconds = [timed(lambda: train_iteration(run), 1)[0] for _ in range(iterations)]
    if ranks.rank == 0:
        print(1000 * statistics.median(seconds), flush=True)
    ranks.any(False)  # Wait for the other ranks.


if __name__ == "__main__":
    train(int(sys.argv[1]), int(sys.argv[2]))
