"""Functions that decode many image files in parallel, in the given order and with bounded memory use."""

from __future__ import annotations

import ctypes
import math
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

import torch
from torch import Tensor

from gankit import GankitError
from gankit_plugins.data.brightness import ImageError, Limits, RangeError
from gankit_plugins.data.decode import Channels, ClipFile, ClipFrames, Decoded, Size, decode_batch, start_worker

BATCH = 32
"""Maximum number of files in a batch. A batch is decoded by one worker process. Smaller batches have more overhead."""

BATCH_BYTES = 1 << 20
"""Approximate limit in bytes for the total size of the decoded images of a batch, and for its file contents."""

AHEAD = 3
"""Number of batches per CPU core that are decoded in advance, before the caller needs them."""

DecodedFile = tuple[str, Tensor | ImageError, int | None]
"""Name of a file, its image (channels, height, width) or an error, and the largest value of a 16-bit image.

For images that do not have 16 bits, the last item is None.
"""


def decode_all(
    names: Iterable[str],
    open_file: Callable[[str], ClipFile],
    size: Size,
    channels: Channels,
    crop: int | None = None,
    limits: Limits | None = None,
    frames: ClipFrames | None = None,
) -> Generator[DecodedFile, None, None]:
    """Decode all files in parallel, and yield each name with its image or error, in the order of `names`.

    Each CPU core has one worker process, and these processes decode the files. If there is only a single batch of
    files, the current process decodes it instead. `open_file` returns the path or the content of a file, or raises
    `ImageError`. Memory use is bounded. `crop` has the same meaning as in `decode`. Images are uint8. If `limits` is
    given, they are float32 in [-1, 1], and the limits become -1 and 1.

    If `frames` is given, the files are clips. `open_file` returns an animation or a tuple with the file of each chosen
    frame, and a decoded clip is (channels, T, height, width).

    Raises:
        GankitError: a worker process cannot be started, or has died.
    """
    dtype = torch.uint8 if limits is None else torch.float32
    shape = (channels, *size) if frames is None else (frames.count, channels, *size)

    def tensors(names: Iterable[str], decoded: list[Decoded | ImageError]) -> Iterator[DecodedFile]:
        for name, result in zip(names, decoded, strict=True):
            if isinstance(result, ImageError):
                yield name, result, None
            else:
                # Copy the pixels to a bytearray, which is writable. PyTorch gives a warning for read-only `bytes`.
                image = torch.frombuffer(bytearray(result.pixels), dtype=dtype)
                if limits is not None and image.clamp_(-1, 1).isnan().any():
                    yield name, RangeError("values that are not numbers (NaN); correct or remove the file"), None
                else:
                    image = image.view(shape)
                    yield name, image if frames is None else image.transpose(0, 1), result.peak

    batches = split_into_batches(names, open_file, dtype.itemsize * math.prod(shape))
    first = list(islice(batches, 2))
    if len(first) < 2:
        for batch in first:
            yield from tensors(batch, decode_batch(list(batch.values()), size, channels, crop, limits, frames))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Spawn the processes, because forked processes would inherit torch's memory and the locks that torch's threads
    # hold.
    context = multiprocessing.get_context("spawn")
    stop = context.RawValue(ctypes.c_bool, False)
    pending: deque[tuple[list[str], Future[list[Decoded | ImageError]]]] = deque()
    # Create the pool in this context manager, because multiprocessing then also starts its resource tracker, which is a
    # process.
    with starting_processes():
        pool = ProcessPoolExecutor(cores, context, start_worker, (stop,))
    batches = chain(first, batches)
    try:
        while True:
            for batch in islice(batches, AHEAD * cores + 1 - len(pending)):
                with starting_processes():
                    future = pool.submit(decode_batch, list(batch.values()), size, channels, crop, limits, frames)
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
    """Prepare this process to start the worker processes of a process pool (a context manager).

    The worker processes ignore Ctrl-C, and import neither the main module nor modules from the current folder.
    """
    # Block SIGINT. New processes inherit the signal mask, so only the current process handles Ctrl-C. Windows has no
    # signal mask.
    set_mask = getattr(signal, "pthread_sigmask", None)
    mask = set_mask(signal.SIG_BLOCK, {signal.SIGINT}) if set_mask is not None else None
    main = sys.modules["__main__"]
    safe_path = os.environ.get("PYTHONSAFEPATH")
    try:
        # multiprocessing runs `python -c`, which would import a file such as `pickle.py` from the current folder.
        os.environ["PYTHONSAFEPATH"] = "1"
        # A spawned process imports the main module of its parent. This import is slow, because it also imports torch. A
        # script without `if __name__ == "__main__"` would even run a second time. An empty main module prevents both
        # problems.
        sys.modules["__main__"] = ModuleType("__main__")
        yield
    except OSError as error:
        raise GankitError(f"a process that decodes images cannot be started: {error}") from error
    finally:
        sys.modules["__main__"] = main
        if safe_path is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = safe_path
        if set_mask is not None and mask is not None:
            set_mask(signal.SIG_SETMASK, mask)


def split_into_batches(
    names: Iterable[str], open_file: Callable[[str], ClipFile], image_bytes: int
) -> Iterator[dict[str, ClipFile | ImageError]]:
    """Open the files, and yield batches of at most `BATCH` files. A batch maps each name to its file or to an error.

    `image_bytes` is the size of a decoded image. The decoded images of a batch have at most `BATCH_BYTES` bytes in
    total, unless a single image is larger. A batch also ends when its file contents exceed `BATCH_BYTES`.
    """
    size = max(1, min(BATCH, BATCH_BYTES // image_bytes))
    batch: dict[str, ClipFile | ImageError] = {}
    content = 0
    for name in names:
        try:
            file = batch[name] = open_file(name)
            content += sum(len(one) for one in (file if isinstance(file, tuple) else (file,)) if isinstance(one, bytes))
        except ImageError as error:
            batch[name] = error
        if len(batch) == size or content > BATCH_BYTES:
            yield batch
            batch, content = {}, 0
    if batch:
        yield batch
