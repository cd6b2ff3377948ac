"""Exact, atomic checkpoints: safetensors for tensors, JSON for the rest, a folder that is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gankit.errors import InputError, PluginError
from gankit.files import TEMPORARY, disk_errors, tensors_to_bytes
from gankit.game import Game
from gankit.kinds import PLAYERS
from gankit.run_dir import RunDir

FORMAT = 1
TensorFile = dict[str, Tensor]


def save_checkpoint(game: Game, directory: RunDir) -> Path:
    """Everything that decides how the game goes on, as `checkpoints/ITERATION/`.

    Written beside its place and renamed into it, so a kill at any moment leaves a whole checkpoint or none.

    Raises GankitError when the disk is full.
    """
    place = directory.checkpoint(game.iteration)
    tensors, plain = capture(game)
    beside = place.with_name(TEMPORARY + place.name)
    with disk_errors(place):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
            plain["files"] = {name: _write(beside / name, tensors_to_bytes(t)) for name, t in tensors.items()}
            _write(beside / "state.json", json.dumps(plain | {"sha256": _seal(plain)}, indent=1).encode())
            if _alike(beside, place):
                # The end of a run that stood here before. To replace it would leave none for a moment.
                shutil.rmtree(beside)
                return place
            if place.exists():
                shutil.rmtree(place)
            os.rename(beside, place)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        _sync_folder(place.parent)
    return place


def load_checkpoint(game: Game, place: Path) -> None:
    """Puts a freshly assembled game where the checkpoint's game stood.

    Raises InputError naming the file when it is missing, truncated, altered, or of another recipe.
    """
    plain = verify(place)
    tensors = {name: _read(place / name) for name in plain["files"]}
    try:
        restore(game, tensors, plain)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{place} does not fit the run's recipe.toml: {reason}") from error


class DamagedError(InputError):
    """A checkpoint is not as it was written."""


def verify(place: Path) -> dict[str, Any]:
    """Reads state.json and compares every file, itself included, with the SHA-256 noted there.

    Raises:
        DamagedError: names the first file that is not as it was written.
        InputError: another version of gankit wrote it, in a format of its own.
    """
    path = place / "state.json"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if not isinstance(plain, dict) or plain.pop("sha256", None) != _seal(plain):
        raise DamagedError(f"{path} is damaged: its content is not what was written")
    if plain.get("format") != FORMAT:
        raise InputError(f"{path} is of format {plain.get('format')}; this gankit reads format {FORMAT}")
    for name, noted in plain["files"].items():
        file = place / name
        size = file.stat().st_size if file.exists() else 0
        if size != noted["bytes"]:
            raise DamagedError(f"{file} is truncated: {size} bytes of {noted['bytes']}")
        with open(file, "rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != noted["sha256"]:
                raise DamagedError(f"{file} is damaged: its content is not what was written")
    return plain


def newest_whole_checkpoint(directory: RunDir) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is as it was written, and a sentence for each newer one that is not.

    Raises InputError when another version of gankit wrote it, in a format of its own.
    """
    complaints = []
    for place in reversed(directory.saved_checkpoints()):
        try:
            verify(place)
        except DamagedError as error:
            complaints.append(str(error))
        else:
            return place, complaints
    return None, complaints


def capture(game: Game) -> tuple[dict[str, TensorFile], dict[str, Any]]:
    """The game's state as tensors, file by file, and as plain values."""
    assert game.batches is not None
    optimizer_tensors: TensorFile = {}
    optimizer_plain: dict[str, Any] = {}
    for player in PLAYERS:
        saved = game.optimizers[player].state_dict()
        values = {
            f"{player}/{index}/{name}": value
            for index, entry in saved["state"].items()
            for name, value in entry.items()
        }
        tensors, rest = _split(values)
        optimizer_tensors |= tensors
        optimizer_plain[player] = {"groups": saved["param_groups"], "values": rest}
    plugin_values = {
        f"{key}/{name}": _storable(key, name, value)
        for key, plugin in game.plugins.items()
        for name, value in plugin.state_dict().items()
    }
    plugin_tensors, plugin_plain = _split(plugin_values)
    tensors_by_file = {
        "generator.safetensors": dict(game.generator.state_dict()),
        "discriminator.safetensors": dict(game.discriminator.state_dict()),
        "optimizer.safetensors": optimizer_tensors,
        "plugins.safetensors": plugin_tensors,
        "random.safetensors": _random_tensors(game.device),
    }
    version, numbers, gauss = random.getstate()
    of_numpy: Any = numpy.random.get_state()
    plain = {
        "format": FORMAT,
        "iteration": game.iteration,
        "turn_counts": game.turn_counts,
        "stop_reason": game.stop_reason,
        "batches": game.batches.state_dict(),
        "optimizer": optimizer_plain,
        "plugins": plugin_plain,
        "python_random": [version, list(numbers), gauss],
        "numpy_random": [of_numpy[0], of_numpy[1].tolist(), *of_numpy[2:]],
    }
    return tensors_by_file, plain


def restore(game: Game, tensors: dict[str, TensorFile], plain: dict[str, Any]) -> None:
    """The inverse of `capture`."""
    assert game.batches is not None
    game.generator.load_state_dict(tensors["generator.safetensors"])
    game.discriminator.load_state_dict(tensors["discriminator.safetensors"])
    for player in PLAYERS:
        _restore_optimizer(game, player, tensors["optimizer.safetensors"], plain["optimizer"][player])
    values = tensors["plugins.safetensors"] | plain["plugins"]
    for key, plugin in game.plugins.items():
        own = {
            name.removeprefix(f"{key}/"): value.to(game.device) if isinstance(value, Tensor) else value
            for name, value in values.items()
            if name.startswith(f"{key}/")
        }
        try:
            plugin.load_state_dict(own)
        except (KeyError, TypeError, RuntimeError, ValueError, IndexError) as error:
            raise ValueError(
                f"{key} does not take back what it saved ({', '.join(own) or 'nothing'}): "
                f"{type(error).__name__}: {error}"
            ) from error
    game.batches.load_state_dict(plain["batches"])
    game.iteration = plain["iteration"]
    game.turn_counts = plain["turn_counts"]
    game.stop_reason = plain.get("stop_reason")
    version, numbers, gauss = plain["python_random"]
    random.setstate((version, tuple(numbers), gauss))
    numpy.random.set_state(tuple(plain["numpy_random"]))
    torch.set_rng_state(tensors["random.safetensors"]["cpu"])
    # A run that moves to a GPU brings no state for the GPU's randomness: it goes on from the seed's.
    if game.device.type == "cuda" and "cuda" in tensors["random.safetensors"]:
        torch.cuda.set_rng_state(tensors["random.safetensors"]["cuda"], game.device)


def _storable(key: str, name: str, value: Any) -> Any:
    """Raises PluginError for a value that neither safetensors nor JSON keeps as it is."""
    if not isinstance(value, (Tensor, int, float, str, bool, type(None))):
        raise PluginError(
            f"{key}: state_dict gives a {type(value).__name__} under {name!r}; tensors, numbers, strings, booleans and "
            "None can be saved"
        )
    return value


def _restore_optimizer(game: Game, player: Any, tensors: TensorFile, plain: dict[str, Any]) -> None:
    optimizer = game.optimizers[player]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for path, value in (tensors | plain["values"]).items():
        owner, index, name = path.split("/", 2)
        if owner != player:
            continue
        like = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == like.shape:
            # Fused optimisers walk parameters and their state side by side in memory: the layouts must agree.
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in g.items()} for g in plain["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_tensors(device: torch.device) -> TensorFile:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _split(values: dict[str, Any]) -> tuple[TensorFile, dict[str, Any]]:
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in values.items() if name not in tensors}


def _seal(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def _alike(one: Path, other: Path) -> bool:
    """Whether the other checkpoint is whole and holds the same to the byte."""
    try:
        return verify(one) == verify(other)
    except InputError:
        return False


def _write(path: Path, data: bytes) -> dict[str, Any]:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read(path: Path) -> TensorFile:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
