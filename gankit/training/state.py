"""The state of a run: captured for a checkpoint, and restored from one."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import safe_open
from torch import Tensor

from gankit.errors import InputError, PluginError
from gankit.plugin.base import Plugin
from gankit.plugin.slots import PLAYERS
from gankit.runtime.rng import derived_seed, seed_all
from gankit.storage.atomic_io import TEMPORARY, disk_errors, tensors_to_bytes
from gankit.storage.checkpoint import (
    CHECKPOINT_FORMAT,
    FILES,
    TensorFile,
    read_tensors,
    same_checkpoint,
    seal,
    sync_folder,
    verify,
    write_synced,
)
from gankit.storage.run_dir import RunDir
from gankit.training.run import Game

RANDOM = "random/"
"""Before the names of random states, where they lie beside what plugins saved."""


def save_checkpoint(game: Game, directory: RunDir) -> Path:
    """Everything that decides how the game goes on, as `checkpoints/ITERATION/`.

    Written beside its place and renamed into it, so a kill at any moment leaves a whole checkpoint or none. The other
    ranks, if there are any, `hand_in_state` meanwhile.

    Raises GankitError when the disk is full.
    """
    place = directory.checkpoint(game.iteration)
    tensors, plain = capture(game)
    of_others = hand_in_state(game)
    beside = place.with_name(TEMPORARY + place.name)
    with disk_errors(place):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
            plain["files"] = {name: write_synced(beside / name, tensors_to_bytes(t)) for name, t in tensors.items()}
            plain["files"] |= {name: write_synced(beside / name, data) for name, data in of_others.items()}
            write_synced(beside / "state.json", json.dumps(plain | {"sha256": seal(plain)}, indent=1).encode())
            if same_checkpoint(beside, place):
                # The end of a run that stood here before. To replace it would leave none for a moment.
                shutil.rmtree(beside)
                return place
            if place.exists():
                shutil.rmtree(place)
            os.rename(beside, place)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        sync_folder(place.parent)
    return place


def hand_in_state(game: Game) -> dict[str, bytes]:
    """Every rank's own state but the first's, as files by name, on the first rank; nothing on the others.

    Each of them calls it where the first one saves a checkpoint.
    """
    if game.ranks.size == 1:
        return {}
    python, of_numpy = _random_values()
    own = {key: plugin for key, plugin in game.plugins.items() if plugin.state_is != "shared"}
    tensors, plain = _split(_plugin_values(own))
    card = {"python_random": python, "numpy_random": of_numpy, "plugins": plain}
    randomness = {f"{RANDOM}{name}": state for name, state in _random_tensors(game.device).items()}
    data = tensors_to_bytes(randomness | tensors, card)
    return {_file_of(rank): data for rank, data in enumerate(game.ranks.gathered(data)) if rank}


def _file_of(rank: int) -> str:
    """The file of what a rank other than the first has of its own."""
    return f"rank-{rank}.safetensors"


def load_checkpoint(game: Game, place: Path) -> None:
    """Puts a freshly assembled game where the checkpoint's game stood.

    Of a game of another number of ranks it takes what all ranks share; what each had of its own begins anew.

    Raises InputError naming the file when it is missing, truncated, altered, or of another recipe.
    """
    plain = verify(place)
    tensors = {name: read_tensors(place / name) for name in FILES}
    try:
        restore(game, tensors, plain)
        _restore_own(game, place, plain.get("ranks", 1))
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{place} does not fit the run's recipe.toml: {reason}") from error


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
    plugin_tensors, plugin_plain = _split(_plugin_values(game.plugins))
    tensors_by_file = {
        "generator.safetensors": dict(game.generator.state_dict()),
        "discriminator.safetensors": dict(game.discriminator.state_dict()),
        "optimizer.safetensors": optimizer_tensors,
        "plugins.safetensors": plugin_tensors,
        "random.safetensors": _random_tensors(game.device),
    }
    python, of_numpy = _random_values()
    plain = {
        "format": CHECKPOINT_FORMAT,
        "iteration": game.iteration,
        "turn_counts": game.turn_counts,
        "stop_reason": game.stop_reason,
        "batches": game.batches.state_dict(),
        "optimizer": optimizer_plain,
        "plugins": plugin_plain,
        "python_random": python,
        "numpy_random": of_numpy,
    }
    if game.ranks.size > 1:
        plain["ranks"] = game.ranks.size
    return tensors_by_file, plain


def restore(game: Game, tensors: dict[str, TensorFile], plain: dict[str, Any]) -> None:
    """The inverse of `capture`, but for what each of several ranks has of its own."""
    assert game.batches is not None
    game.generator.load_state_dict(tensors["generator.safetensors"])
    game.discriminator.load_state_dict(tensors["discriminator.safetensors"])
    for player in PLAYERS:
        _restore_optimizer(game, player, tensors["optimizer.safetensors"], plain["optimizer"][player])
    # What each rank had of its own fits only as many of them, and this file has the first one's.
    own_too = plain.get("ranks", 1) == game.ranks.size and game.ranks.rank == 0
    shared = {key: plugin for key, plugin in game.plugins.items() if plugin.state_is == "shared"}
    _give_back(game, game.plugins if own_too else shared, tensors["plugins.safetensors"] | plain["plugins"])
    game.batches.load_state_dict(plain["batches"])
    game.iteration = plain["iteration"]
    game.turn_counts = plain["turn_counts"]
    game.stop_reason = plain.get("stop_reason")
    _set_randomness(game.device, tensors["random.safetensors"], plain["python_random"], plain["numpy_random"])


def _restore_own(game: Game, place: Path, ranks: int) -> None:
    """What this rank alone has, after a checkpoint's shared state is restored.

    Args:
        game: whose ranks and iteration are looked at.
        place: of the checkpoint.
        ranks: how many wrote it.
    """
    rank = game.ranks.rank
    if ranks != game.ranks.size:
        seed_all(derived_seed(game.recipe.seed, f"training/{rank}/{game.iteration}"))
    elif rank:
        path = place / _file_of(rank)
        tensors, card = read_tensors(path), _read_card(path)
        own = {key: plugin for key, plugin in game.plugins.items() if plugin.state_is != "shared"}
        _give_back(game, own, tensors | card["plugins"])
        randomness = {name.removeprefix(RANDOM): state for name, state in tensors.items() if name.startswith(RANDOM)}
        _set_randomness(game.device, randomness, card["python_random"], card["numpy_random"])


def _give_back(game: Game, plugins: dict[str, Plugin], values: dict[str, Any]) -> None:
    """To each plugin what it saved; `values` are by `KEY/NAME`."""
    for key, plugin in plugins.items():
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


def _plugin_values(plugins: dict[str, Plugin]) -> dict[str, Any]:
    """What plugins save, by `KEY/NAME`."""
    return {
        f"{key}/{name}": _storable(key, name, value)
        for key, plugin in plugins.items()
        for name, value in plugin.state_dict().items()
    }


def _random_values() -> tuple[list[Any], list[Any]]:
    """The states of Python's and numpy's random generators, as JSON takes them."""
    version, numbers, gauss = random.getstate()
    of_numpy: Any = numpy.random.get_state()
    return [version, list(numbers), gauss], [of_numpy[0], of_numpy[1].tolist(), *of_numpy[2:]]


def _set_randomness(device: torch.device, tensors: TensorFile, python: list[Any], of_numpy: list[Any]) -> None:
    version, numbers, gauss = python
    random.setstate((version, tuple(numbers), gauss))
    numpy.random.set_state(tuple(of_numpy))
    torch.set_rng_state(tensors["cpu"])
    # A run that moves to a GPU brings no state for the GPU's randomness: it goes on from the seed's.
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)


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


def _read_card(path: Path) -> dict[str, Any]:
    """The JSON beside a file's tensors."""
    with safe_open(path, "pt") as file:
        card: dict[str, Any] = json.loads(file.metadata()["gankit"])
    return card
