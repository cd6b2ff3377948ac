"""Images decoded once and for all: one safetensors file that training maps into memory and uses at once.

The file holds `images`, (N, C, R, R) uint8, and, where there are classes, `labels`, (N,) int64. Under the metadata
key `gankit` stands, as JSON, what the numbers mean and where they come from.
"""

from __future__ import annotations

import json
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
from gankit.plugin.dataset import Dataset
from gankit.storage.atomic_io import TEMPORARY, disk_errors
from gankit.version import __version__

FORMAT = "gankit-images-1"
SUFFIX = ".safetensors"
CHUNK = 256
"""Images written at once when a dataset has no stream of its own."""

Chunks = Iterable[tuple[Tensor, Tensor | None]]
Card = dict[str, Any]


def prepare(dataset: Dataset, out: Path, source: str, progress: Callable[[int], None] = lambda count: None) -> int:
    """Writes a dataset's images to a file that `read_prepared` takes; returns how many.

    The file appears when it is whole. Until then, and if anything goes wrong, what was there before stays.

    Args:
        dataset: what to write.
        out: the file, ending in .safetensors. An existing one is replaced.
        source: what the images are, for the record.
        progress: told how many more images are written, again and again.

    Raises:
        InputError: `out` cannot be such a file, or the images cannot be used.
        GankitError: the disk is full.
    """
    if out.suffix != SUFFIX:
        raise InputError(f"{out}: prepared images go into a file whose name ends in {SUFFIX}")
    if out.is_dir():
        raise InputError(f"{out} is a folder; prepared images go into one file")
    card = {"format": FORMAT, "gankit": __version__, "class_names": list(dataset.class_names)}
    card |= {"source": source, "note": dataset.note}
    if dataset.stream is not None:
        assert dataset.at_most is not None, "a stream goes with at_most"
        chunks: Chunks = dataset.stream()
        at_most = dataset.at_most
    else:
        images, labels = dataset.load()
        chunks, at_most = _cut(images, labels), len(images)
    return write_prepared(out, chunks, at_most, (dataset.channels, dataset.resolution), card, progress)


def write_prepared(
    path: Path,
    chunks: Chunks,
    at_most: int,
    shape: tuple[int, int],
    card: Card,
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Writes images as they come, one chunk in memory at a time; returns how many.

    Args:
        path: the file.
        chunks: (n, C, R, R) uint8 with (n,) int64, or with None throughout when `card` names no classes.
        at_most: how many images may come.
        shape: C and R.
        card: for the metadata, with `class_names`; the counts are added.
        progress: told how many more images are written.

    Raises:
        InputError: not one image came.
        GankitError: the disk is full.
    """
    classes = len(card["class_names"])
    beside = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    # The header says how many images there are, which the last chunk tells. It is written last, into the room
    # left for it: as long as it can get, plus the labels. Spaces, which the format allows, fill what is not needed.
    longest = _header(at_most, shape, card, [at_most] * classes)
    begin = 8 + -(-len(longest) // 8) * 8 + (8 * at_most if classes else 0)
    # Eight bytes an image, the one thing here that grows with them: where in the file they go is not known before their
    # number is. In one piece, for many small ones between the chunks keep the allocator from using their room again.
    labels = torch.empty(at_most if classes else 0, dtype=torch.int64)
    counts = torch.zeros(classes, dtype=torch.int64)
    count = 0
    try:
        with _created(beside, path) as file:
            file.seek(begin)
            for images, some_labels in chunks:
                if images.dtype != torch.uint8:
                    raise InputError(
                        f"{card['source']} gives no pictures but numbers of its own, which need no preparing"
                    )
                assert images.shape[1:] == (shape[0], shape[1], shape[1]), "chunks have the dataset's shape"
                assert (some_labels is not None) == bool(classes), "labels come with classes"
                assert count + len(images) <= at_most, "more images came than were promised"
                with disk_errors(path):
                    file.write(images.contiguous().numpy().data)
                if some_labels is not None:
                    labels[count : count + len(images)] = some_labels
                    counts += some_labels.bincount(minlength=classes)
                count += len(images)
                progress(len(images))
            if not count:
                raise InputError(f"{path}: there is not one image to write")
            header = _header(count, shape, card, counts.tolist())
            labels = labels[:count]
            length = begin - 8 - labels.nbytes
            with disk_errors(path):
                file.seek(0)
                file.write(struct.pack("<Q", length) + header.ljust(length))
                file.write(labels.numpy().data)
                file.flush()
                os.fsync(file.fileno())
        with disk_errors(path):
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return count


def read_prepared(path: Path) -> Dataset:
    """The dataset in a file that `prepare` wrote. Reads the header; `load` maps the rest.

    Raises:
        InputError: it is missing, cut off, or something else.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {}).get("gankit", "null"))
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in found.items()}
    except ValueError:
        card = None
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(card, dict) or "format" not in card:
        raise InputError(f"{path} holds no images that `gankit prepare` wrote")
    if card["format"] != FORMAT:
        raise InputError(f"{path} holds {card['format']!r}; this version of gankit reads {FORMAT!r}")
    names: list[str] = card.get("class_names", [])
    if not _consistent(shapes, names):
        raise InputError(f"{path} is damaged: its header contradicts itself; prepare it anew")
    _, (_, channels, resolution, _) = shapes["images"]

    def load() -> tuple[Tensor, Tensor | None]:
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error
        labels = tensors.get("labels")
        if labels is not None and (labels.min() < 0 or labels.max() >= len(names)):
            raise InputError(f"{path} is damaged: it has labels that stand for no class; prepare it anew")
        return tensors["images"], labels

    return Dataset(channels, resolution, tuple(names), load, note=str(card.get("note", "")))


@contextmanager
def _created(beside: Path, path: Path) -> Iterator[BinaryIO]:
    """A new file, to be `path` one day. What is raised while it is open is not taken for the disk's fault."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(beside, "wb")  # noqa: SIM115
    try:
        yield file
    finally:
        # Closing writes what a full disk has left in the buffer, and fails again.
        with disk_errors(path):
            file.close()


def _header(count: int, shape: tuple[int, int], card: Card, counts: list[int]) -> bytes:
    """safetensors' header: labels first, where they are aligned whatever the images' size."""
    channels, side = shape
    tensors: dict[str, Any] = {"__metadata__": {"gankit": json.dumps(card | {"count": count, "counts": counts})}}
    begin = 8 * count if counts else 0
    if counts:
        tensors["labels"] = {"dtype": "I64", "shape": [count], "data_offsets": [0, begin]}
    end = begin + count * channels * side * side
    tensors["images"] = {"dtype": "U8", "shape": [count, channels, side, side], "data_offsets": [begin, end]}
    return json.dumps(tensors).encode()


def _consistent(shapes: dict[str, tuple[str, tuple[int, ...]]], names: Any) -> bool:
    """Whether a header is one that `_header` could have written."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    dtype, shape = shapes.get("images", ("", ()))
    if dtype != "U8" or len(shape) != 4 or shape[2] != shape[3] or not all(shape):
        return False
    labels = {"labels": ("I64", shape[:1])} if names else {}
    return shapes == {"images": (dtype, shape)} | labels


def _cut(images: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    for begin in range(0, len(images), CHUNK):
        rows = slice(begin, begin + CHUNK)
        yield images[rows], None if labels is None else labels[rows]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read; it may be cut off, or no safetensors file ({error})")
