"""Functions that read trained networks from run directories, checkpoints and other files, and record their origin."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypedDict

from gankit.errors import InputError
from gankit.storage.checkpoint import FILES, PARTS, TensorFile, newest_whole_checkpoint, read_tensors, verify
from gankit.storage.quantisation import dequantise
from gankit.storage.run_dir import RunDir

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".tar")
"""Suffixes of files that contain pickled Python objects. Unpickling could run unknown code."""


class Origin(TypedDict):
    """Record of the file from which the initial weights of a network were loaded."""

    path: str
    sha256: str
    network: str | None
    """Name of the network in the run that wrote the file, or None if it is unknown."""

    iteration: int | None
    """Iteration of the run at which the file was written, or None if it is unknown."""


def read_trained_network(path: Path, network: str) -> tuple[TensorFile, Origin]:
    """Return the tensors of a trained network, and the record of their origin.

    Args:
        path: a generator file, a run directory, a checkpoint folder, or any safetensors file. In a run directory, the
            newest undamaged checkpoint is used.
        network: name of the network in a run directory or checkpoint, such as `discriminator`.

    Raises:
        InputError: the file or folder does not exist, cannot be read, or does not contain the network.
    """
    file, iteration = _in_checkpoint(path, network) if path.is_dir() else (path, None)
    if not file.exists():
        raise InputError(f"there is no file or folder {path}")
    if file.suffix.lower() in PICKLED:
        raise InputError(_refusal_of_pickle(file))
    tensors, card = read_tensors(file)
    tensors = dequantise(tensors)
    if network != "generator" and "generator" in card:
        raise InputError(
            f"{path} contains a generator; for the network {network!r}, give a run directory, one of its checkpoints, "
            "or a file of this network"
        )
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if iteration is not None:
        return tensors, Origin(path=str(file), sha256=digest, network=network, iteration=iteration)
    known = "generator" if "generator" in card else None
    return tensors, Origin(path=str(file), sha256=digest, network=known, iteration=card.get("iteration"))


def _in_checkpoint(folder: Path, network: str) -> tuple[Path, int]:
    """Return the path of a network's file in a checkpoint, and the iteration of the checkpoint.

    `folder` is a checkpoint, or a run directory whose newest undamaged checkpoint is used.
    """
    place: Path | None = folder
    if (folder / "recipe.toml").is_file():
        place, damaged = newest_whole_checkpoint(RunDir(folder))
        if place is None:
            reason = damaged[0] if damaged else f"{folder}: no checkpoint is saved yet"
            raise InputError(f"{reason}; give another run, or a generator file")
    elif not (folder / "state.json").is_file():
        raise InputError(f"{folder} is neither a run directory nor a checkpoint; give one of them, or a file")
    assert place is not None
    state = verify(place)
    if f"{network}.safetensors" not in state["files"]:
        others = sorted(state["files"].keys() - FILES)
        extra = [name.removesuffix(".safetensors") for name in others if not name.startswith("rank-")]
        raise InputError(f"{place} has no network {network!r}; it has {', '.join([*PARTS[:2], *extra])}")
    return place / f"{network}.safetensors", state["iteration"]


def _refusal_of_pickle(file: Path) -> str:
    new = file.with_suffix(".safetensors").name
    return (
        f"{file}: gankit does not read pickled files, because they can run code; convert the file in Python, and give "
        f"{new}: `import torch; from safetensors.torch import save_file; "
        f"state = torch.load({file.name!r}, map_location='cpu', weights_only=True); "
        f"save_file({{name: tensor.contiguous() for name, tensor in state.items()}}, {new!r})`"
    )
