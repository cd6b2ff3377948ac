"""Batches of real images: in what order, from where, and how they get to the device.

Images stay uint8 until they are on the device, where they become [-1, 1]. The order is a permutation for each
epoch that depends on nothing but the seed and the epoch, so two numbers are enough to resume it.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor

from gankit.data.mmap_advice import expect_no_order, fetch, is_mapped
from gankit.errors import InputError
from gankit.runtime.ranks import ALONE, Ranks

State = dict[str, list[int]]
Ahead = tuple[Tensor, Tensor | None, State]
"""A batch, and the state behind it."""


def rows(of: Tensor, index: Tensor) -> Tensor:
    """`of[index]`, (N, ...) by (n,) to (n, ...); on the CPU worked out by the calling thread alone.

    torch would share it among threads that it starts for each thread that asks. With more of those than cores, the
    ones that do the arithmetic of training no longer wait for one another awake, and training is slower.
    """
    # numpy knows no bfloat16, and would first copy all of what does not lie in order.
    if of.device.type != "cpu" or of.dtype == torch.bfloat16 or not of.is_contiguous():
        return of[index]
    taken = torch.empty(len(index), *of.shape[1:], dtype=of.dtype)
    # "clip" only spares numpy a copy: no index is out of range.
    of.numpy().take(index.numpy(), axis=0, out=taken.numpy(), mode="clip")
    return taken


SHORT = 1 << 15
"""What torch works out in one thread."""


def permutation(length: int, randomness: torch.Generator) -> Tensor:
    """Of 0, 1, ..., length - 1, as torch draws it."""
    if length < SHORT:
        return torch.randperm(length, generator=randomness)
    # The threads that torch starts for a long one go with the thread that asks: see `rows`.
    with ThreadPoolExecutor(1) as passing:
        return passing.submit(torch.randperm, length, generator=randomness).result()


class ShuffledIndices:
    """An endless sequence of indices: each epoch is a permutation of all of them.

    Args:
        indices: (N,) int64.
        seed: of this sequence.
    """

    def __init__(self, indices: Tensor, seed: int) -> None:
        self.indices = indices
        self.seed = seed
        self.seek(0, 0)

    def seek(self, epoch: int, position: int) -> None:
        self.epoch, self.position = epoch, position
        randomness = torch.Generator().manual_seed((self.seed + epoch * 1_000_003) % 2**63)
        self.order = rows(self.indices, permutation(len(self.indices), randomness))

    def take(self, count: int) -> Tensor:
        """The next `count` indices, through as many epochs as that needs."""
        pieces = []
        while count:
            if self.position == len(self.order):
                self.seek(self.epoch + 1, 0)
            piece = self.order[self.position : self.position + count]
            self.position += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


class BatchSource(Protocol):
    """Where turns get their real images from."""

    @property
    def size(self) -> int:
        """How many images there are."""
        ...

    def next(self) -> tuple[Tensor, Tensor | None]:
        """(B, C, R, R) uint8 and (B,) int64 or None, on the device or pinned for it."""
        ...

    def reference(self, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """`count` images and their labels that depend on nothing but the seed; the order of batches is left alone."""
        ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...

    def close(self) -> None:
        """Lets go of what is gathered ahead, if anything."""
        ...


class Batches:
    """Batches in shuffled order.

    Args:
        images: (N, C, R, R) uint8, on the device, or on the CPU to be copied from there.
        labels: (N,) int64 or None, in the same place.
        batch_size: B.
        classes: 0 for batches as they come; else each batch holds B / classes images of each class, in the
            order 0, 1, 2, ..., 0, 1, 2, ...
        seed: of the order.
        ranks: that share each batch, in slices of equal length; this one's is handed out.

    Raises:
        InputError: there are no images, or a class without any.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None,
        batch_size: int,
        classes: int,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        if not len(images):
            raise InputError("data: there is not one image to learn from")
        self.images, self.labels = images, labels
        self.mapped = is_mapped(images)
        self.batch_size = batch_size
        self.ranks = ranks
        if classes:
            assert labels is not None
            on_cpu = labels.cpu()
            members = [(on_cpu == k).nonzero().flatten() for k in range(classes)]
            empty = [str(k) for k, found in enumerate(members) if not len(found)]
            if empty:
                raise InputError(
                    f"data: no image of class {', '.join(empty)}, and every batch needs some of each class"
                )
            self.sequences = [ShuffledIndices(found, seed + k) for k, found in enumerate(members)]
        else:
            self.sequences = [ShuffledIndices(torch.arange(len(images)), seed)]

    @property
    def size(self) -> int:
        return len(self.images)

    def next(self) -> tuple[Tensor, Tensor | None]:
        return self._gathered(self._drawn())

    def several(self, count: int) -> list[Ahead]:
        """The next `count` batches, gathered in one go: less is done for each than if one were asked for after the
        other."""
        drawn = [(self._drawn(), self.state_dict()) for _ in range(count)]
        lengths = [len(index) for index, _ in drawn]
        images, labels = self._gathered(torch.cat([index for index, _ in drawn]))
        of_labels = [None] * count if labels is None else labels.split(lengths)
        states = [state for _, state in drawn]
        return list(zip(images.split(lengths), of_labels, states, strict=True))

    def _drawn(self) -> Tensor:
        """The indices of the next batch."""
        each = self.batch_size // len(self.sequences)
        index = torch.stack([sequence.take(each) for sequence in self.sequences], dim=1).flatten()
        if self.ranks.size > 1:
            # All ranks go through the same order, so that two numbers are their state too.
            index = index.chunk(self.ranks.size)[self.ranks.rank]
        return index

    def _gathered(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.mapped:
            fetch(self.images, index)
        if self.images.is_cuda:
            # Copied from ordinary memory, it would make the CPU wait.
            index = index.pin_memory()
        index = index.to(self.images.device, non_blocking=True)
        return rows(self.images, index), None if self.labels is None else rows(self.labels, index)

    def reference(self, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor | None]:
        return Batches(self.images, self.labels, count, classes, seed).next()

    def state_dict(self) -> State:
        return {
            "epoch": [sequence.epoch for sequence in self.sequences],
            "position": [sequence.position for sequence in self.sequences],
        }

    def load_state_dict(self, state: State) -> None:
        for sequence, epoch, position in zip(self.sequences, state["epoch"], state["position"], strict=True):
            sequence.seek(epoch, position)

    def close(self) -> None:
        return None


class PrefetchedBatches:
    """Batches gathered ahead by a thread, for images that lie on disk or must travel to the device.

    What is saved is the state behind the batches handed out, not behind those gathered ahead.

    Args:
        batches: where they come from.
        depth: how many are gathered in one go; as many wait to be handed out, and as many more in the thread's hands.
        pin: put into memory from which a GPU copies by itself.
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

    def next(self) -> tuple[Tensor, Tensor | None]:
        if self.thread is None:
            self._start()
        item = self.ahead.get()
        if isinstance(item, BaseException):
            raise item
        images, labels, self.state = item
        return images, labels

    def reference(self, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor | None]:
        return self.batches.reference(count, classes, seed)

    def state_dict(self) -> State:
        return self.state

    def load_state_dict(self, state: State) -> None:
        self.close()
        self.batches.load_state_dict(state)
        self.state = self.batches.state_dict()

    def close(self) -> None:
        if self.thread is not None:
            self.stopping.set()
            # It may be waiting for room, and needs it once at most.
            with suppress(queue.Empty):
                while True:
                    self.ahead.get_nowait()
            self.thread.join()
            self.thread = None

    def _start(self) -> None:
        self.ahead: queue.Queue[Any] = queue.Queue(self.depth)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._gather, name="gankit-prefetch", daemon=True)
        self.thread.start()

    def _gather(self) -> None:
        while not self.stopping.is_set():
            items: list[Any]
            try:
                items = [self._pinned(*ahead) if self.pin else ahead for ahead in self.batches.several(self.depth)]
            except BaseException as error:  # handed over to whoever asks for the batch
                items = [error]
            for item in items:
                if not self.stopping.is_set():
                    self.ahead.put(item)

    @staticmethod
    def _pinned(images: Tensor, labels: Tensor | None, state: State) -> Ahead:
        return images.pin_memory(), None if labels is None else labels.pin_memory(), state


def make_batch_source(
    images: Tensor,
    labels: Tensor | None,
    device: torch.device,
    batch_size: int,
    classes: int,
    seed: int,
    prefetch: bool | None = None,
    ranks: Ranks = ALONE,
) -> BatchSource:
    """The images where they are best drawn from: on the device if they fit, else gathered ahead.

    On a CPU, what lies in memory is drawn from there, and what lies in a mapped file is gathered ahead, whatever its
    size: the system keeps in memory what fits, and gives it up before it runs out.

    Args:
        images, labels, batch_size, classes, seed, ranks: as for `Batches`.
        device: where the game is played.
        prefetch: True or False to decide; None to see where the images lie.
    """
    if prefetch is None:
        prefetch = is_mapped(images) if device.type == "cpu" else images.nbytes > room_for_data(device)
    if prefetch:
        expect_no_order(images)
        return PrefetchedBatches(Batches(images, labels, batch_size, classes, seed, ranks), pin=device.type == "cuda")
    on_device = images.to(device), None if labels is None else labels.to(device)
    return Batches(*on_device, batch_size, classes, seed, ranks)


def room_for_data(device: torch.device) -> int:
    """Bytes of a GPU's memory that images may take: a quarter of what is free."""
    return torch.cuda.mem_get_info(device)[0] // 4
