"""Many image files decoded on all cores, in order, a little ahead of who asks for them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from gankit_plugins.data.decode import ImageError, refuse_large
from gankit_plugins.data.decoder import Decoder
from gankit_plugins.data.folder import Shelf

TOGETHER = 32
"""Files that a decoder is handed at once, so that handing over costs little beside decoding."""

TOGETHER_BYTES = 1 << 20
"""Of their pixels, or of what is handed over; one file, if it is more."""

AHEAD = 2
"""Times as many files as are worked at that may be done before they are asked for."""

ResolvedPlugin = tuple[str, Tensor | ImageError]
"""A file and its image, (channels, resolution, resolution) uint8, or what is wrong with it."""


def decode_all(
    shelf: Shelf, files: Iterable[str], resolution: int, channels: Literal[1, 3]
) -> Generator[ResolvedPlugin, None, None]:
    """What is found of every file, in order.

    There is one `Decoder` for each core, and a thread that asks it. A few files at a time are in memory.

    Raises GankitError when a decoder is no more.
    """
    decoders: list[Decoder] = []
    idle: list[Decoder] = []

    def pixels(values: bytearray) -> Tensor:
        return torch.frombuffer(values, dtype=torch.uint8).view(channels, resolution, resolution)

    def work(some: list[str]) -> list[ResolvedPlugin]:
        try:
            decoder = idle.pop()
        except IndexError:  # all are at work, and this thread is new
            decoder = Decoder(resolution, channels)
            decoders.append(decoder)
        found: dict[str, Tensor | ImageError] = {}
        asked: dict[str, str | bytes] = {}

        def ask() -> None:
            for file, answer in zip(asked, decoder.decode(list(asked.values())), strict=True):
                found[file] = answer if isinstance(answer, ImageError) else pixels(answer)
            asked.clear()

        read = 0
        for file in some:
            try:
                asked[file] = shelf.path(file) or _read(shelf, file)
            except ImageError as error:
                found[file] = error
                continue
            read += len(data) if isinstance(data := asked[file], bytes) else 0
            if read > TOGETHER_BYTES:
                ask()
                read = 0
        ask()
        idle.append(decoder)
        return [(file, found[file]) for file in some]

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    together = max(1, min(TOGETHER, TOGETHER_BYTES // (channels * resolution**2)))
    coming: deque[Future[list[ResolvedPlugin]]] = deque()
    pool = ThreadPoolExecutor(cores, "gankit-decode")
    left = iter(files)
    try:
        while some := list(islice(left, together)):
            coming.append(pool.submit(work, some))
            if len(coming) > (1 + AHEAD) * cores:
                yield from coming.popleft().result()
        while coming:
            yield from coming.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        # Who waits for a decoder waits no longer; who has just started one comes to its end.
        for decoder in decoders.copy():
            decoder.process.kill()
        pool.shutdown()
        for decoder in decoders:
            decoder.end()


def _read(shelf: Shelf, file: str) -> bytes:
    try:
        refuse_large(shelf.size(file))
        return shelf.read(file)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageError(str(error)) from error
    except (RuntimeError, NotImplementedError) as error:  # an encrypted entry, or one packed in an unknown way
        raise ImageError(str(error)) from error
