"""Record of the data of a run. A checkpoint contains it, so that a resumed run recognises other data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

HASHED_BYTES = 64 * 2**20
"""Maximum size of a dataset, in bytes, whose images are all hashed. Of a larger one, only some images are hashed."""

IDENTITY = ("shape", "dtype", "class names")
"""Facts that must be equal to resume a run: its networks and labels do not fit other data."""

DataRecord = dict[str, Any]


def data_record(images: Tensor, labels: Tensor | None, class_names: tuple[str, ...]) -> DataRecord:
    """Return facts about data: number, shape and dtype of the images, class names, and hashes of images and labels.

    All labels are hashed. Up to 64 MiB of images are hashed. If there are more, only evenly spaced images are hashed.
    A change of another image is then not recognised.

    Args:
        images: images or points, (N, ...).
        labels: class indices (N,), or None.
        class_names: names of the classes, in the order of the labels.
    """
    count = len(images)
    size = images[:1].numel() * images.element_size()
    hashed = max(1, min(count, HASHED_BYTES // size))
    rows = torch.linspace(0, count - 1, hashed, dtype=torch.float64).round().long()
    digest = hashlib.sha256()
    for some in rows.split(256):
        digest.update(images[some].contiguous().numpy().data)
    return {
        "count": count,
        "shape": list(images.shape[1:]),
        "dtype": str(images.dtype).removeprefix("torch."),
        "class names": list(class_names),
        "images": digest.hexdigest(),
        "labels": None if labels is None else hashlib.sha256(labels.contiguous().numpy().data).hexdigest(),
    }


def other_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a message for each difference between two records that prevents a run from being resumed."""
    messages = []
    for fact in IDENTITY[:2]:
        if before[fact] != now[fact]:
            messages.append(f"{fact} {_text(now[fact])} instead of {_text(before[fact])}")
    old, new = before["class names"], now["class names"]
    if old != new:
        added, removed = ([name for name in one if name not in other] for one, other in ((new, old), (old, new)))
        parts = [f"{what} {', '.join(names)}" for what, names in (("new", added), ("missing", removed)) if names]
        messages.append(f"other class names ({'; '.join(parts) or 'in another order'})")
    return messages


def changed_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a message for each difference between the images or the labels of two records."""
    if before["count"] != now["count"]:
        return [f"{now['count']} images instead of {before['count']}"]
    changed = [fact for fact in ("images", "labels") if before[fact] != now[fact]]
    return [f"other {fact}" for fact in changed]


def _text(fact: Any) -> str:
    return "x".join(map(str, fact)) if isinstance(fact, list) else str(fact)
