"""Decoding of many image files on all cores, in order, in bounded memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from gankit import GankitError
from gankit_plugins.data.decode import ImageError, ImageFile, decode_batch, start_worker

BATCH = 32
"""Number of files per task of a worker process, so that the transfer costs little compared with the decoding."""

BATCH_BYTES = 1 << 20
"""Limit of a batch's pixels, and of its files' contents, in bytes. A batch has at least one file."""

AHEAD = 3
"""Number of batches per core that are decoded before they are requested."""

DecodedFile = tuple[str, Tensor | ImageError]
"""The name of a file, and its image, (channels, resolution, resolution) uint8, or why it cannot be used."""


def decode_all(
    names: Iterable[str], open_file: Callable[[str], ImageFile], resolution: int, channels: Literal[1, 3]
) -> Generator[DecodedFile, None, None]:
    """Yield all images in order. A few files at a time are in memory.

    There is one worker process per core. A single batch is decoded in this process. `open_file` returns the path or
    the content of a file, or raises `ImageError`.

    Raises:
        GankitError: a worker process cannot be started, or has died.
    """

    def tensors(names: Iterable[str], decoded: list[bytes | ImageError]) -> Iterator[DecodedFile]:
        for name, pixels in zip(names, decoded, strict=True):
            if isinstance(pixels, ImageError):
                yield name, pixels
            else:
                # PyTorch requires a writable buffer.
                image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
                yield name, image.view(channels, resolution, resolution)

    batches = split_into_batches(names, open_file, channels * resolution**2)
    first = list(islice(batches, 2))
    if len(first) < 2:
        for batch in first:
            yield from tensors(batch, decode_batch(list(batch.values()), resolution, channels))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A forked process would inherit the threads and the memory of torch.
    context = multiprocessing.get_context("spawn")
    stop = context.RawValue(ctypes.c_bool, False)
    pending: deque[tuple[list[str], Future[list[bytes | ImageError]]]] = deque()
    pool = ProcessPoolExecutor(cores, context, start_worker, (stop,))
    batches = chain(first, batches)
    try:
        while True:
            for batch in islice(batches, AHEAD * cores + 1 - len(pending)):
                with starting_processes():
                    future = pool.submit(decode_batch, list(batch.values()), resolution, channels)
                pending.append((list(batch), future))
            if not pending:
                break
            oldest, future = pending.popleft()
            yield from tensors(oldest, future.result())
    except BrokenProcessPool as error:
        raise GankitError("a process that decodes images has died; it may have run out of memory") from error
    finally:
        stop.value = True
        pool.shutdown(cancel_futures=True)


@contextmanager
def starting_processes() -> Iterator[None]:
    """Start worker processes that ignore Ctrl-C, which this process handles, and do not import the main module."""
    # A process inherits the mask of the thread that starts it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    main = sys.modules["__main__"]
    try:
        # A spawned process imports the main module of its parent, and torch with it. A script that does not check for
        # `__name__ == "__main__"` would even run a second time.
        sys.modules["__main__"] = ModuleType("__main__")
        yield
    except OSError as error:
        raise GankitError(f"a process that decodes images cannot be started: {error}") from error
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def split_into_batches(
    names: Iterable[str], open_file: Callable[[str], ImageFile], image_bytes: int
) -> Iterator[dict[str, ImageFile | ImageError]]:
    """Yield the files by their names in batches of at most `BATCH` files and about `BATCH_BYTES` bytes."""
    size = max(1, min(BATCH, BATCH_BYTES // image_bytes))
    batch: dict[str, ImageFile | ImageError] = {}
    content = 0
    for name in names:
        try:
            file = batch[name] = open_file(name)
            content += len(file) if isinstance(file, bytes) else 0
        except ImageError as error:
            batch[name] = error
        if len(batch) == size or content > BATCH_BYTES:
            yield batch
            batch, content = {}, 0
    if batch:
        yield batch
