"""Record of the data of a run. A checkpoint contains this record, so that a resumed run can detect changed data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gankit.plugin.condition import Condition, evenly_spaced, from_card
from gankit.plugin.dataset import Rows

HASHED_BYTES = 64 * 2**20
"""Maximum size, in bytes, of a tensor whose rows are all hashed. If a tensor is larger, only some rows are hashed."""

IDENTITY = ("shape", "dtype")
"""Keys of the data record whose values must not change when a run is resumed, because the networks depend on them.

The condition must not change either.
"""

DataRecord = dict[str, Any]


def data_record(rows: Rows, condition: Condition | None) -> DataRecord:
    """Return the record of a dataset: number, shape and dtype of the images, the condition, and hashes of all tensors.

    A tensor of up to 64 MiB is hashed completely. For a larger tensor, only evenly spaced rows are hashed, and a change
    in the other rows is not detected.

    Args:
        rows: images of the dataset, with their conditions and additional tensors.
        condition: description of the conditions, or None for data without a condition.
    """
    images = rows.images
    return {
        "count": len(images),
        "shape": list(images.shape[1:]),
        "dtype": str(images.dtype).removeprefix("torch."),
        "condition": None if condition is None else json.loads(json.dumps(condition.to_card())),
        "images": _hash(images),
        "rows": None if rows.condition is None else _hash(rows.condition),
        "fields": {name: _hash(field) for name, field in rows.fields.items()},
    }


def _hash(tensor: Tensor) -> str:
    size = max(1, tensor[:1].numel() * tensor.element_size())
    chosen = evenly_spaced(len(tensor), max(1, min(len(tensor), HASHED_BYTES // size)))
    digest = hashlib.sha256()
    for some in chosen.split(256):
        digest.update(tensor[some].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def other_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Compare two data records. Return a message for each difference that prevents the run from being resumed."""
    messages = []
    for fact in IDENTITY:
        if before[fact] != now[fact]:
            messages.append(f"{fact} {_text(now[fact])} instead of {_text(before[fact])}")
    if before["condition"] != now["condition"]:
        messages.append(_other_condition(before["condition"] or {}, now["condition"] or {}))
    return messages


def _other_condition(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a message about two different conditions, which are given as JSON objects.

    An empty object means no condition.
    """
    if {card.get("kind", "class") for card in (before, now)} == {"class"}:
        old, new = before.get("names", []), now.get("names", [])
        added, removed = ([name for name in one if name not in other] for one, other in ((new, old), (old, new)))
        parts = [f"{what} {', '.join(names)}" for what, names in (("new", added), ("missing", removed)) if names]
        return f"other class names ({'; '.join(parts) or 'in another order'})"
    texts = [one.describe() if (one := from_card(dict(card) or None)) else "no condition" for card in (now, before)]
    if texts[0] == texts[1]:
        return f"other words or ranges of the condition ({texts[0]})"
    return f"another condition ({texts[0]}, instead of {texts[1]})"


def changed_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Compare the images, the conditions and the fields of two data records. Return a message for each difference.

    If the numbers of images differ, return only a message about these numbers.
    """
    if before["count"] != now["count"]:
        return [f"{now['count']} images instead of {before['count']}"]
    rows = "labels" if (now["condition"] or {}).get("kind") == "class" else "conditions"
    names = {"images": "images", "rows": rows, "fields": "fields"}
    return [f"other {name}" for fact, name in names.items() if before[fact] != now[fact]]


def _text(fact: Any) -> str:
    return "x".join(map(str, fact)) if isinstance(fact, list) else str(fact)
