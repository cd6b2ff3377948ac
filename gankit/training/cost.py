"""Cost of one training iteration, in time and memory, measured with random images."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gankit.plugin.slots import PLAYERS
from gankit.runtime.device import accelerator_module
from gankit.runtime.peak_memory import TensorMemory
from gankit.runtime.rng import fork_rng
from gankit.training.run import TrainingRun
from gankit.training.update import train_iteration


@dataclass(frozen=True)
class Cost:
    """Cost of one training iteration."""

    seconds: float
    """Mean time of an iteration, without the first one, which is slower."""

    memory: int
    """Peak memory of all tensors, in bytes: networks, gradients, optimisers and activations, without the dataset."""


def measure_cost(run: TrainingRun, seconds: float = 0.0) -> Cost:
    """Measure the cost of one iteration of a new run on random images. The run cannot be used afterwards.

    Args:
        run: assembled run without data.
        seconds: time for which iterations are timed. At least one iteration is timed.
    """
    with fork_rng(run.device):
        load_random_images(run)
        run.start()
        memory = peak_of_iteration(run)
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() - start < seconds:
            _iterate(run)
            count += 1
        elapsed = time.perf_counter() - start
    assert run.batches is not None
    run.batches.close()
    return Cost(elapsed / count, memory)


def load_random_images(run: TrainingRun) -> None:
    """Load one batch of random images as the data of a run. Data with further fields are read from their files."""
    dataset, count = run.dataset, run.recipe.train.batch_size
    if not dataset.fields:
        images = torch.randint(256, (count, *dataset.shape), dtype=torch.uint8)
        condition = None if dataset.condition is None else dataset.condition.blank(count)
        run.dataset = replace(dataset, load=lambda: (images, condition), stream=None, at_most=None)
    run.load_data()


def peak_of_iteration(run: TrainingRun) -> int:
    """Train two iterations of a run, and return the peak memory of all tensors in the second one, in bytes.

    The first iteration allocates the memory that stays, such as the states of the optimisers. All lazy loss terms,
    which are computed only in some steps, are computed in the second one.
    """
    _iterate(run)
    run.step_counts = dict.fromkeys(PLAYERS, 0)
    module = accelerator_module(run.device.type)
    if module is not None and hasattr(module, "max_memory_allocated"):
        # Other runs of this process may have tensors on the device, such as the run whose recipe is measured.
        others = module.memory_allocated(run.device) - _persistent_bytes(run)
        module.reset_peak_memory_stats(run.device)
        _iterate(run)
        return int(module.max_memory_allocated(run.device)) - others
    with TensorMemory() as memory:
        train_iteration(run)
    return _persistent_bytes(run) + memory.peak


def _iterate(run: TrainingRun) -> None:
    """Train one iteration and wait until the device has finished it."""
    train_iteration(run)
    run.after_iteration(run)
    if run.device.type != "cpu":
        torch.accelerator.synchronize(run.device)


def _persistent_bytes(run: TrainingRun) -> int:
    """Return the number of bytes of all tensors that exist between iterations: weights, gradients and optimisers."""
    tensors: list[Tensor] = []
    for network in run.networks.values():
        tensors += [*network.parameters(), *network.buffers()]
        tensors += [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    for optimizer in run.optimizers.values():
        tensors += [one for state in optimizer.state.values() for one in state.values() if isinstance(one, Tensor)]
    return sum({one.data_ptr(): one.nbytes for one in tensors}.values())
