"""Reading and writing of prepared images: decoded images in a safetensors file, which is memory-mapped for training.

A file contains the tensor `images`, (N, *shape), where `shape` is the shape of one image. For data with a condition,
the file also contains the tensor `condition`, such as labels, (N,) int64. Additional tensors of the dataset (fields),
(N, ...), have the names `fields.NAME`. The metadata of the file contains the description of the condition, the number
of images of each class and the source of the images. The metadata is JSON under the key `gankit`.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from gankit.errors import InputError
from gankit.formatting import plural
from gankit.plugin.condition import ClassCondition, Condition, from_card
from gankit.plugin.dataset import Dataset, Loaded, Rows
from gankit.storage.atomic_io import TEMPORARY, disk_errors
from gankit.version import __version__

FORMAT = "gankit-images-2"
SUFFIX = ".safetensors"
CHUNK = 256
"""Maximum number of images in a chunk, for datasets without the function `stream`."""

DTYPES = {
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.bool: "BOOL",
}
"""Data types that a file of prepared images can store, and the names of these types in a safetensors header."""

IMAGE_DTYPES = (torch.uint8, torch.uint16, torch.float32)

FIELD = "fields."
"""Prefix of the name of a tensor that contains a field. A field is additional data of each image."""

Chunks = Iterable[Rows]
Card = dict[str, Any]
"""Metadata of a file of prepared images, as a JSON object."""


def prepare(dataset: Dataset, out: Path, source: str, progress: Callable[[int], None] = lambda count: None) -> int:
    """Write the images of a dataset to a file of prepared images. Return the number of images.

    An existing file is replaced only when the new file is complete. After an error, the existing file is unchanged.

    Args:
        dataset: dataset whose images are written.
        out: file to write, ending in .safetensors.
        source: description of the source of the images, for the metadata.
        progress: function that is called after each chunk is written, with the number of images in the chunk.

    Raises:
        InputError: `out` is a folder or does not end in .safetensors, or the images cannot be used.
        GankitError: the file cannot be written, for example because the disk is full.
    """
    if out.suffix != SUFFIX:
        raise InputError(f"{out}: the name of a file of prepared images must end in {SUFFIX}")
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file")
    card: Card = {"format": FORMAT, "gankit": __version__, "source": source, "note": dataset.note}
    card["condition"] = None if dataset.condition is None else dataset.condition.to_card()
    card["encoding"] = dict(dataset.encoding)
    if dataset.stream is not None:
        assert dataset.at_most is not None, "a stream goes with at_most"
        chunks: Chunks = dataset.read_chunks()
        at_most = dataset.at_most
    else:
        rows = dataset.read()
        chunks, at_most = _in_chunks(rows), len(rows.images)
    return write_prepared(out, chunks, at_most, dataset.shape, card, progress)


def write_prepared(
    path: Path,
    chunks: Chunks,
    at_most: int,
    shape: tuple[int, ...],
    card: Card,
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Write a dataset in chunks to a file of prepared images. Return the number of images.

    Only the images of one chunk are in memory at a time. The conditions and fields of all chunks stay in memory until
    the end.

    Args:
        path: file to write.
        chunks: chunks of the dataset. All images must have the same data type, which must be in `IMAGE_DTYPES`.
        at_most: upper limit for the total number of images in all chunks.
        shape: shape of an image, (C, H, W).
        card: metadata with the keys `condition` and `source`. This function adds the total number of images and the
            number in each class.
        progress: function that is called after each chunk is written, with the number of images in the chunk.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    # The number of images is known only after the last chunk, so the header, the conditions and the fields are written
    # last, at the start of the file. Leave enough space there for `at_most` images. The header is padded with spaces,
    # which the safetensors format allows.
    begin, dtype, count = 0, torch.uint8, 0
    condition = from_card(card["condition"])
    classes = len(condition.names) if isinstance(condition, ClassCondition) else 0
    # Each tensor is allocated once for all chunks. Small allocations between the chunks would prevent the allocator
    # from reusing the memory of earlier chunks.
    others: dict[str, Tensor] = {}
    try:
        with _temporary_file(temporary, path) as file:
            for rows in chunks:
                images = rows.images
                dtype = dtype if count else images.dtype
                _check_types(images, dtype, _others(rows), card["source"])
                if not count:
                    others = {name: one.new_empty(at_most, *one.shape[1:]) for name, one in _others(rows).items()}
                    longest = _header(at_most, shape, dtype, card, others, [at_most] * classes)
                    begin = aligned(8 + len(longest) + sum(one.nbytes for one in others.values()))
                    file.seek(begin)
                assert count + len(images) <= at_most, "there are more images than at_most"
                with disk_errors(path):
                    file.write(images.contiguous().numpy().data)
                for name, one in _others(rows).items():
                    others[name][count : count + len(images)] = one
                count += len(images)
                progress(len(images))
            if not count:
                raise InputError(f"{path}: there are no images to write")
            others = {name: one[:count] for name, one in others.items()}
            counts = others["condition"].bincount(minlength=classes).tolist() if classes else []
            header = _header(count, shape, dtype, card, others, counts)
            length = begin - 8 - sum(one.nbytes for one in others.values())
            with disk_errors(path):
                file.seek(0)
                file.write(struct.pack("<Q", length) + header.ljust(length))
                for one in others.values():
                    file.write(one.numpy().data)
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
    damaged = InputError(f"{path} is damaged: its header is inconsistent; prepare it again")
    try:
        condition = from_card(card["condition"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise damaged from None
    if not _consistent(shapes, condition):
        raise damaged
    _, (count, *shape) = shapes["images"]
    fields = tuple(name.removeprefix(FIELD) for name in shapes if name.startswith(FIELD))

    def load() -> Loaded:
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error
        return tensors["images"], tensors.get("condition"), {name: tensors[FIELD + name] for name in fields}

    note, contents, encoding = str(card.get("note", "")), plural(count, "image"), card.get("encoding", {})
    return Dataset(tuple(shape), condition, load, note=note, contents=contents, fields=fields, encoding=encoding)


@contextmanager
def _temporary_file(temporary: Path, path: Path) -> Iterator[BinaryIO]:
    """Open the file `temporary` for writing, and close the file at the end of the `with` block.

    The caller then renames the file to `path`.

    Raises:
        GankitError: the file cannot be opened or closed, for example because the disk is full.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(temporary, "wb")  # noqa: SIM115
    try:
        yield file
    finally:
        # If the disk is full, `close` fails too, because `close` tries again to write the buffered data.
        with disk_errors(path):
            file.close()


def _others(rows: Rows) -> dict[str, Tensor]:
    """Return the condition and the fields by tensor name, in ascending order of bytes per value.

    In a file of prepared images, the images follow these tensors and begin at a multiple of 8 bytes. Because of the
    ascending order, each tensor begins at a multiple of the size of its values. Without this alignment, NumPy would
    copy whole tensors.
    """
    others = {} if rows.condition is None else {"condition": rows.condition}
    others |= {FIELD + name: field for name, field in rows.fields.items()}
    return dict(sorted(others.items(), key=lambda item: item[1].element_size()))


def aligned(position: int) -> int:
    """Return the smallest multiple of 8 that is not less than `position`."""
    return -(-position // 8) * 8


def _check_types(images: Tensor, dtype: torch.dtype, others: Mapping[str, Tensor], source: str) -> None:
    """Raise InputError if the images' data type is not `dtype`, or if another tensor's data type is not in `DTYPES`."""
    if images.dtype != dtype or dtype not in IMAGE_DTYPES:
        raise InputError(f"{source}: values of type {images.dtype}; all must be one of {_types(IMAGE_DTYPES)}")
    for name, one in others.items():
        if one.dtype not in DTYPES:
            raise InputError(f"{source}: {name} has the type {one.dtype}; it must be one of {_types(DTYPES)}")


def _types(dtypes: Iterable[torch.dtype]) -> str:
    return ", ".join(str(one).removeprefix("torch.") for one in dtypes)


def _header(
    count: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    card: Card,
    others: Mapping[str, Tensor],
    counts: list[int],
) -> bytes:
    """Return the header of a file of prepared images: the metadata, and the type, shape and position of each tensor.

    The metadata contains `card`, the number of images, and the number of images in each class (`counts`). The images
    are the last tensor of the file.
    """
    tensors: dict[str, Any] = {"__metadata__": {"gankit": json.dumps(card | {"count": count, "counts": counts})}}
    begin = 0
    for name, one in others.items():
        offsets = [begin, begin + one.nbytes]
        tensors[name] = {"dtype": DTYPES[one.dtype], "shape": list(one.shape), "data_offsets": offsets}
        begin += one.nbytes
    end = begin + count * math.prod(shape) * dtype.itemsize
    tensors["images"] = {"dtype": DTYPES[dtype], "shape": [count, *shape], "data_offsets": [begin, end]}
    return json.dumps(tensors).encode()


def _consistent(shapes: dict[str, tuple[str, tuple[int, ...]]], condition: Condition | None) -> bool:
    """Return True if the tensor names and shapes in a file's header are valid for a file of prepared images.

    `condition` describes the condition of the dataset, or is None for data without a condition.
    """
    dtype, shape = shapes.get("images", ("", ()))
    if dtype not in map(DTYPES.get, IMAGE_DTYPES) or len(shape) < 2 or not all(shape):
        return False
    others = {name: found for name, found in shapes.items() if name != "images" and not name.startswith(FIELD)}
    expected = {} if condition is None else {"condition": (*shape[:1], *condition.shape)}
    return {name: found for name, (_, found) in others.items()} == expected and all(
        found[:1] == shape[:1] for _, found in shapes.values()
    )


def _in_chunks(rows: Rows) -> Iterator[Rows]:
    for begin in range(0, len(rows.images), CHUNK):
        yield rows.slice(begin, begin + CHUNK)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read; it is truncated, or not a safetensors file ({error})")
