"""Files of projections: safetensors files with a z or w, and with facts about the projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gankit.errors import InputError
from gankit.sampling.projection import LatentPoint, Projection
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes
from gankit.storage.checkpoint import read_tensors

FORMAT = 1


def save_projection(projection: Projection, path: Path, generator: str, **facts: Any) -> None:
    """Write a projection to a file.

    Args:
        projection: projection.
        path: path of the file.
        generator: hash of the generator (`weights_hash`).
        facts: further values for the metadata, such as the seed.
    """
    point = projection.point
    card = {
        "format": FORMAT,
        "space": point.space,
        "class": point.label,
        "distance": projection.distance,
        "mean squared error": projection.error,
        "generator": generator,
        **facts,
    }
    write_bytes(path, tensors_to_bytes({point.space: point.latent}, card))


def read_projection(path: Path, generator: str) -> LatentPoint:
    """Return the point of a projection file.

    Raises:
        InputError: the file is missing, is not a projection, or belongs to another generator.
    """
    if not path.is_file():
        raise InputError(f"there is no projection {path}")
    tensors, card = read_tensors(path)
    space, label = (card.get(name) for name in ("space", "class")) if isinstance(card, dict) else (None, None)
    if space not in ("z", "w") or card.get("format") != FORMAT or space not in tensors or tensors[space].dim() != 1:
        raise InputError(f"{path} is not a projection that this version of gankit can read")
    if card.get("generator") != generator:
        raise InputError(f"{path} was projected with another generator; project the image again")
    return LatentPoint(space, tensors[space], label)
