"""Batches of real images, in shuffled order.

Images keep their data type, usually uint8, until they are on the device. The order of an epoch is a permutation that
depends only on the seed and the epoch number. A checkpoint therefore stores only the epoch number and the position
within the epoch.
"""

from __future__ import annotations

import math
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gankit.data.mmap_advice import expect_random_access, is_mapped, read_ahead
from gankit.errors import InputError
from gankit.plugin.dataset import Rows
from gankit.runtime.device import free_memory
from gankit.runtime.memory_limit import memory_limit
from gankit.runtime.ranks import ALONE, Ranks

State = dict[str, list[int]]
"""Position in the shuffled order, for a checkpoint: a dictionary with two lists, `epoch` and `position`.

Each list has one entry, or one entry for each class if the batches are balanced. A balanced batch contains the same
number of images of each class.
"""

BatchAndState = tuple[Rows, State]
"""A batch, and the checkpoint state after this batch."""


def take_rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Return `tensor[index]`, of shape (n, ...), for a tensor (N, ...) and row indices (n,).

    On the CPU, NumPy copies the rows in the calling thread if possible. torch would start a separate thread pool for
    each calling thread. With more threads than CPU cores, training is slower.
    """
    # NumPy cannot read GPU memory, and has no bfloat16.
    if tensor.device.type != "cpu" or tensor.dtype == torch.bfloat16:
        return tensor[index]
    if not tensor.is_contiguous():  # `take` would first copy the whole tensor
        return torch.from_numpy(np.ascontiguousarray(tensor.numpy()[index.numpy()]))
    rows = torch.empty(len(index), *tensor.shape[1:], dtype=tensor.dtype)
    # With mode="clip", NumPy writes into `rows` without a temporary copy. No index is clipped, because all indices are
    # valid.
    tensor.numpy().take(index.numpy(), axis=0, out=rows.numpy(), mode="clip")
    return rows


SINGLE_THREAD_LENGTH = 1 << 15
"""Length below which `torch.randperm` uses only the calling thread."""


def permutation(length: int, generator: torch.Generator) -> Tensor:
    """Return `torch.randperm(length, generator=generator)`, without starting a thread pool for the calling thread."""
    if length < SINGLE_THREAD_LENGTH:
        return torch.randperm(length, generator=generator)
    # For a long permutation, torch starts a thread pool. The pool ends when the thread that called torch ends.
    # Therefore, call torch in a temporary thread.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(torch.randperm, length, generator=generator).result()


class ShuffledIndices:
    """Endless shuffled sequence of the given indices, (N,) int64. Each epoch is a new permutation of all indices."""

    def __init__(self, indices: Tensor, seed: int) -> None:
        self.indices = indices
        self.seed = seed
        self.seek(0, 0)

    def seek(self, epoch: int, position: int) -> None:
        """Set the epoch number and the position within this epoch."""
        self.epoch, self.position = epoch, position
        generator = torch.Generator().manual_seed((self.seed + epoch * 1_000_003) % 2**63)
        self.order = take_rows(self.indices, permutation(len(self.indices), generator))

    def take(self, count: int) -> Tensor:
        """Return the next `count` indices, (count,) int64. After the last index of an epoch, the next epoch begins."""
        pieces = []
        while count:
            if self.position == len(self.order):
                self.seek(self.epoch + 1, 0)
            piece = self.order[self.position : self.position + count]
            self.position += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


class Batches:
    """Batches of real images in shuffled order.

    Args:
        rows: images of the dataset, with their conditions and additional tensors, on the device of the run or on the
            CPU.
        batch_size: B, the number of images in a batch. With several ranks, B is the total over all ranks.
        classes: number of classes for balanced batches, or 0 for batches that are not balanced. A balanced batch
            contains B / classes images of each class, in the order 0, 1, 2, ..., 0, 1, 2, ... The condition of `rows`
            must then be labels.
        seed: seed of the shuffled order.
        ranks: ranks that share each batch equally. `next` returns the part of the calling rank.

    Raises:
        InputError: there are no images, or a class has no images.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        classes: int,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        if not len(rows.images):
            raise InputError("data: there are no images to train on")
        self.rows = rows
        self.mapped = [tensor for tensor in rows.tensors() if is_mapped(tensor)]
        """Memory-mapped tensors in `rows`."""

        self.batch_size = batch_size
        self.ranks = ranks
        if classes:
            assert rows.condition is not None
            labels_on_cpu = rows.condition.cpu()
            members = [(labels_on_cpu == k).nonzero().flatten() for k in range(classes)]
            empty = [str(k) for k, indices in enumerate(members) if not len(indices)]
            if empty:
                raise InputError(f"data: no image of class {', '.join(empty)}, and every batch needs all classes")
            self.sequences = [ShuffledIndices(indices, seed + k) for k, indices in enumerate(members)]
        else:
            self.sequences = [ShuffledIndices(torch.arange(len(rows.images)), seed)]

    @property
    def size(self) -> int:
        """Number of images in the dataset."""
        return len(self.rows.images)

    def next(self) -> Rows:
        """Return the next batch, or the calling rank's part of the batch if there are several ranks.

        The result has `batch_size` / (number of ranks) images. Its tensors have the data types of the dataset's
        tensors, and are on the device of the dataset's images.
        """
        return self._gather(self._next_indices())

    def next_several(self, count: int) -> list[BatchAndState]:
        """Return the next `count` batches. Each batch is paired with the checkpoint state after the batch.

        The images of all these batches are copied in one call, which is faster than one call for each batch.
        """
        indices, states = [], []
        for _ in range(count):
            indices.append(self._next_indices())
            states.append(self.state_dict())
        lengths = [len(index) for index in indices]
        together = self._gather(torch.cat(indices))
        batches = []
        for end, length in zip(accumulate(lengths), lengths, strict=True):
            batches.append(together.slice(end - length, end))
        return list(zip(batches, states, strict=True))

    def _next_indices(self) -> Tensor:
        per_class = self.batch_size // len(self.sequences)
        index = torch.stack([sequence.take(per_class) for sequence in self.sequences], dim=1).flatten()
        if self.ranks.size > 1:
            # Each rank draws the indices of the whole batch, so that the checkpoint state is equal on all ranks. Then
            # each rank takes a slice.
            index = index.chunk(self.ranks.size)[self.ranks.rank]
        return index

    def _gather(self, index: Tensor) -> Rows:
        images = self.rows.images
        for tensor in self.mapped:
            read_ahead(tensor, index)
        if images.is_cuda:
            # Pin the index, because a copy from pageable memory would make the CPU wait for the GPU.
            index = index.pin_memory()
        index = index.to(images.device, non_blocking=True)
        return self.rows.map(lambda tensor: take_rows(tensor, index))

    def take(self, index: Tensor) -> Rows:
        """Return the rows with the numbers `index`, (n,) int64 on the CPU. n may be 0."""
        return self._gather(index)

    def reference(self, count: int, classes: int, seed: int) -> Rows:
        """Return a fixed batch of `count` rows, for example to compute metrics.

        `classes` and `seed` have the same meaning as for `Batches`. This call does not affect the batches that `next`
        returns.
        """
        return Batches(self.rows, count, classes, seed).next()

    def state_dict(self) -> State:
        """Return the epoch number and the position within the epoch, for a checkpoint."""
        return {
            "epoch": [sequence.epoch for sequence in self.sequences],
            "position": [sequence.position for sequence in self.sequences],
        }

    def load_state_dict(self, state: State) -> None:
        for sequence, epoch, position in zip(self.sequences, state["epoch"], state["position"], strict=True):
            sequence.seek(epoch, position)

    def close(self) -> None:
        """Do nothing. In `PrefetchedBatches`, this method stops the prefetching thread."""


class PrefetchedBatches:
    """Batches that a background thread prefetches from a dataset on disk or in CPU memory.

    This class has the same methods as `Batches`. `state_dict` returns the state after the last batch that `next`
    returned.

    Args:
        batches: source of the batches.
        depth: maximum number of batches in the queue. The thread also copies this number of batches at a time, so it
            holds up to `depth` more batches.
        pin: True to copy each batch to pinned memory. The CPU then does not wait while a batch is copied to the GPU.
    """

    def __init__(self, batches: Batches, depth: int = 4, pin: bool = False) -> None:
        self.batches = batches
        self.depth = depth
        self.pin = pin
        self.state = batches.state_dict()
        self.thread: threading.Thread | None = None

    @property
    def size(self) -> int:
        return self.batches.size

    def next(self) -> Rows:
        # Start the thread at the first call of `next`, because `load_state_dict` may change the position before this
        # call.
        if self.thread is None:
            self._start()
        item = self.queue.get()
        if isinstance(item, BaseException):
            raise item
        rows, self.state = item
        return rows

    def take(self, index: Tensor) -> Rows:
        return self.batches.take(index)

    def reference(self, count: int, classes: int, seed: int) -> Rows:
        return self.batches.reference(count, classes, seed)

    def state_dict(self) -> State:
        return self.state

    def load_state_dict(self, state: State) -> None:
        self.close()
        self.batches.load_state_dict(state)
        self.state = self.batches.state_dict()

    def close(self) -> None:
        if self.thread is None:
            return
        self.stopping.set()
        # The thread may be blocked in `put` on a full queue. Emptying the queue unblocks it. The thread checks
        # `stopping` before each `put`, so the thread adds at most one more batch and then ends.
        with suppress(queue.Empty):
            while True:
                self.queue.get_nowait()
        self.thread.join()
        self.thread = None

    def _start(self) -> None:
        self.queue: queue.Queue[Any] = queue.Queue(self.depth)
        self.stopping = threading.Event()
        # A daemon thread does not keep the process alive if `close` is not called.
        self.thread = threading.Thread(target=self._prefetch, name="gankit-prefetch", daemon=True)
        self.thread.start()

    def _prefetch(self) -> None:
        while not self.stopping.is_set():
            items: list[Any]
            try:
                items = self.batches.next_several(self.depth)
                if self.pin:
                    items = [(rows.map(Tensor.pin_memory), state) for rows, state in items]
            except BaseException as error:
                # Put the exception into the queue. Then `next` raises the exception in the training thread.
                items = [error]
            for item in items:
                if not self.stopping.is_set():
                    self.queue.put(item)


BatchSource = Batches | PrefetchedBatches

PINNED = ("cuda", "xpu")
"""Types of devices to which PyTorch copies faster from pinned (page-locked) memory."""


def make_batch_source(
    rows: Rows,
    device: torch.device,
    batch_size: int,
    classes: int,
    seed: int,
    prefetch: bool | None = None,
    ranks: Ranks = ALONE,
) -> BatchSource:
    """Return the source of batches for a run on `device`: `PrefetchedBatches` if `prefetch` is true, else `Batches`.

    If `prefetch` is None, the choice depends on the device. On an accelerator, batches are prefetched if the images
    need more than a quarter of the free memory. On a CPU, batches are prefetched if the images are memory-mapped. The
    other arguments are the same as for `Batches`.
    """
    if prefetch is None:
        size = sum(tensor.nbytes for tensor in rows.tensors())
        prefetch = is_mapped(rows.images) if device.type == "cpu" else size > memory_for_images(device)
    if prefetch:
        for tensor in rows.tensors():
            expect_random_access(tensor)
        return PrefetchedBatches(Batches(rows, batch_size, classes, seed, ranks), pin=device.type in PINNED)
    return Batches(rows.map(lambda tensor: tensor.to(device)), batch_size, classes, seed, ranks)


def memory_for_images(device: torch.device) -> float:
    """Return the number of bytes of an accelerator's memory that the images may use: a quarter of the free memory."""
    return (free_memory(device) or memory_limit() or math.inf) / 4
