"""Reading and writing of prepared images: decoded images in a safetensors file, which is memory-mapped for training.

A file contains the tensor `images`, (N, C, H, W), and, if there are classes, the tensor `labels`, (N,) int64. Its
metadata contains the class names, the number of images of each class and the source of the images. The metadata is
JSON under the key `gankit`.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from gankit.errors import InputError
from gankit.formatting import plural
from gankit.plugin.dataset import Dataset
from gankit.storage.atomic_io import TEMPORARY, disk_errors
from gankit.version import __version__

FORMAT = "gankit-images-1"
SUFFIX = ".safetensors"
CHUNK = 256
"""Maximum number of images that are written at once, for datasets without `stream`, a function that yields chunks."""

DTYPES = {torch.uint8: "U8", torch.uint16: "U16", torch.float32: "F32"}
"""Data types of prepared images, and their names in a safetensors header."""

Chunks = Iterable[tuple[Tensor, Tensor | None]]
Card = dict[str, Any]
"""Metadata of a file of prepared images, as a JSON object."""


def prepare(dataset: Dataset, out: Path, source: str, progress: Callable[[int], None] = lambda count: None) -> int:
    """Write the images of a dataset to a file of prepared images. Return the number of images.

    An existing file is replaced only when the new one is complete. After an error, the existing file is unchanged.

    Args:
        dataset: dataset whose images are written.
        out: file to write, ending in .safetensors.
        source: description of the source of the images, for the metadata.
        progress: function called after each written chunk with the number of images in this chunk.

    Raises:
        InputError: `out` is a folder or does not end in .safetensors, or the images cannot be used.
        GankitError: the file cannot be written, for example because the disk is full.
    """
    if out.suffix != SUFFIX:
        raise InputError(f"{out}: the name of a file of prepared images must end in {SUFFIX}")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file")
    card = {"format": FORMAT, "gankit": __version__, "class_names": list(dataset.class_names)}
    card |= {"source": source, "note": dataset.note}
    if dataset.stream is not None:
        assert dataset.at_most is not None, "a stream goes with at_most"
        chunks: Chunks = dataset.read_chunks()
        at_most = dataset.at_most
    else:
        images, labels = dataset.read()
        chunks, at_most = _in_chunks(images, labels), len(images)
    return write_prepared(out, chunks, at_most, dataset.shape, card, progress)


def write_prepared(
    path: Path,
    chunks: Chunks,
    at_most: int,
    shape: tuple[int, ...],
    card: Card,
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Write chunks of images to a file of prepared images. Return the number of images.

    Only one chunk is in memory at a time.

    Args:
        path: file to write.
        chunks: pairs `(images, labels)`, of shapes (n, *shape) and (n,) int64. All images have one of the data types in
            `DTYPES`. The labels are None if `card` has no classes.
        at_most: upper limit for the total number of images in all chunks.
        shape: shape of an image, (C, H, W).
        card: metadata with the key `class_names`. This function adds the total number of images and the number in each
            class.
        progress: function called after each written chunk with the number of images in this chunk.
    """
    classes = len(card["class_names"])
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    # The number of images is known only after the last chunk, so the header and the labels are written last. Space for
    # them is left at the start of the file, enough for the header and labels of `at_most` images. The header is padded
    # with spaces, which the format allows.
    longest = _header(at_most, shape, torch.float32, card, [at_most] * classes)
    begin = 8 + -(-len(longest) // 8) * 8 + (8 * at_most if classes else 0)
    # One tensor for all labels is allocated before the loop, because small allocations between the chunks would prevent
    # the allocator from reusing the memory of earlier chunks.
    labels = torch.empty(at_most if classes else 0, dtype=torch.int64)
    counts = torch.zeros(classes, dtype=torch.int64)
    count, dtype = 0, torch.uint8
    try:
        with _temporary_file(temporary, path) as file:
            file.seek(begin)
            for images, chunk_labels in chunks:
                dtype = images.dtype if count == 0 else dtype
                if images.dtype != dtype or dtype not in DTYPES:
                    names = ", ".join(str(one).removeprefix("torch.") for one in DTYPES)
                    raise InputError(f"{card['source']}: values of type {images.dtype}; all must be one of {names}")
                assert count + len(images) <= at_most, "there are more images than at_most"
                with disk_errors(path):
                    file.write(images.contiguous().numpy().data)
                if chunk_labels is not None:
                    labels[count : count + len(images)] = chunk_labels
                    counts += chunk_labels.bincount(minlength=classes)
                count += len(images)
                progress(len(images))
            if not count:
                raise InputError(f"{path}: there are no images to write")
            header = _header(count, shape, dtype, card, counts.tolist())
            labels = labels[:count]
            length = begin - 8 - labels.nbytes
            with disk_errors(path):
                file.seek(0)
                file.write(struct.pack("<Q", length) + header.ljust(length))
                file.write(labels.numpy().data)
                file.flush()
                os.fsync(file.fileno())
        with disk_errors(path):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def read_prepared(path: Path) -> Dataset:
    """Return the dataset in a file of prepared images. Only the header is read. `Dataset.load` memory-maps the images.

    Raises:
        InputError: the file is missing or truncated, or `prepare` did not write it.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {}).get("gankit", "null"))
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except ValueError:
        card = None
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(card, dict) or "format" not in card:
        raise InputError(f"{path} is not a file of `gankit prepare`")
    if card["format"] != FORMAT:
        raise InputError(f"{path} has format {card['format']!r}; this version of gankit reads {FORMAT!r}")
    names: list[str] = card.get("class_names", [])
    if not _consistent(shapes, names):
        raise InputError(f"{path} is damaged: its header is inconsistent; prepare it again")
    _, (count, *shape) = shapes["images"]

    def load() -> tuple[Tensor, Tensor | None]:
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error
        labels = tensors.get("labels")
        if labels is not None and (labels.min() < 0 or labels.max() >= len(names)):
            raise InputError(f"{path} is damaged: it has labels without a class; prepare it again")
        return tensors["images"], labels

    note, contents = str(card.get("note", "")), plural(count, "image")
    return Dataset(tuple(shape), tuple(names), load, note=note, contents=contents)


@contextmanager
def _temporary_file(temporary: Path, path: Path) -> Iterator[BinaryIO]:
    """Open the file `temporary` for writing, and close it after the block. The caller renames it to `path`.

    Raises:
        GankitError: the file cannot be opened or closed, for example because the disk is full.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(temporary, "wb")  # noqa: SIM115
    try:
        yield file
    finally:
        # If the disk is full, `close` fails too, because it tries again to write the buffered data.
        with disk_errors(path):
            file.close()


def _header(count: int, shape: tuple[int, ...], dtype: torch.dtype, card: Card, counts: list[int]) -> bytes:
    """Return the safetensors header. The labels precede the images, so that they are aligned for any image size."""
    tensors: dict[str, Any] = {"__metadata__": {"gankit": json.dumps(card | {"count": count, "counts": counts})}}
    begin = 8 * count if counts else 0
    if counts:
        tensors["labels"] = {"dtype": "I64", "shape": [count], "data_offsets": [0, begin]}
    end = begin + count * math.prod(shape) * dtype.itemsize
    tensors["images"] = {"dtype": DTYPES[dtype], "shape": [count, *shape], "data_offsets": [begin, end]}
    return json.dumps(tensors).encode()


def _consistent(shapes: dict[str, tuple[str, tuple[int, ...]]], names: Any) -> bool:
    """Return True if the tensors in a header have the names, dtypes and shapes of prepared images and labels."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    dtype, shape = shapes.get("images", ("", ()))
    if dtype not in DTYPES.values() or len(shape) < 2 or not all(shape):
        return False
    labels = {"labels": ("I64", shape[:1])} if names else {}
    return shapes == {"images": (dtype, shape)} | labels


def _in_chunks(images: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    for begin in range(0, len(images), CHUNK):
        rows = slice(begin, begin + CHUNK)
        yield images[rows], None if labels is None else labels[rows]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read; it is truncated, or not a safetensors file ({error})")
