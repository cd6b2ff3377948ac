"""Functions that save the state of a run to a checkpoint, and restore it.

The state includes everything that affects later iterations. A resumed run therefore gives the same result as an
uninterrupted run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gankit.errors import InputError, PluginError
from gankit.plugin.base import Plugin
from gankit.plugin.slots import PLAYERS, Player
from gankit.runtime.rng import RandomState, derived_seed, seed_all
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.storage.checkpoint import FILES, TensorFile, read_tensors, verify, write_checkpoint
from gankit.storage.run_dir import RunDir
from gankit.training.resume_checks import fixed_settings
from gankit.training.run import TrainingRun

RANDOM = "random/"
"""Prefix of the names of random states in the files `rank-N.safetensors`.

All other tensors in these files belong to the state of plugins.
"""

MISMATCH = "does not fit the run's recipe.toml and plugins"


def save_checkpoint(run: TrainingRun, directory: RunDir) -> Path:
    """Save the state of a run to the folder `checkpoints/ITERATION/`, and return the path of this folder.

    Only the first rank calls this function. All other ranks must call `gather_rank_states` at the same iteration.
    """
    tensors, state = capture(run)
    rank_files = gather_rank_states(run)
    # Serialise one file at a time, to use less memory.
    files = ((name, tensors_to_bytes(content)) for name, content in tensors.items())
    place = directory.checkpoint(run.iteration)
    write_checkpoint(place, chain(files, rank_files.items()), state)
    return place


def load_checkpoint(run: TrainingRun, place: Path) -> None:
    """Restore the state of a newly assembled run from a checkpoint folder.

    If the checkpoint was written with a different number of ranks, only the state that all ranks share is restored.

    Raises:
        InputError: a file is missing, truncated or altered, or the checkpoint belongs to another recipe.
    """
    state, tensors = _read_checkpoint(place, [*FILES, *network_files(run).values()])
    with _mismatches(place):
        restore(run, tensors, state)
        restore_rank_state(run, place, state.get("ranks", 1))


def load_networks(run: TrainingRun, place: Path) -> None:
    """Restore only the networks and the plugins' state from a checkpoint folder, for use without training.

    The data of the run need not be loaded. Optimisers, random states and counters of the run do not change.

    Raises:
        InputError: a file is missing, truncated or altered, or the checkpoint belongs to another recipe.
    """
    state, tensors = _read_checkpoint(place, ["plugins.safetensors", *network_files(run).values()])
    with _mismatches(place):
        _restore_networks(run, tensors)
        _restore_plugins(run, run.plugins, tensors["plugins.safetensors"] | state["plugins"])


def _read_checkpoint(place: Path, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, TensorFile]]:
    """Return the content of `state.json`, and the tensors of the files with the given names."""
    state, names = verify(place), dict.fromkeys(names)
    if missing := names.keys() - state["files"].keys():
        raise InputError(f"{place} {MISMATCH}: it has no {', '.join(sorted(missing))}")
    return state, {name: read_tensors(place / name)[0] for name in names}


@contextmanager
def _mismatches(place: Path) -> Iterator[None]:
    """Convert an error in the `with` block, which restores a checkpoint, to an InputError."""
    try:
        yield
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{place} {MISMATCH}: {reason}. If a plugin file was changed, restore it") from error


def capture(run: TrainingRun) -> tuple[dict[str, TensorFile], dict[str, Any]]:
    """Return the state of a run: the tensors of each file, by file name, and the JSON values for `state.json`."""
    assert run.batches is not None
    optimizer_tensors: TensorFile = {}
    optimizer_values: dict[str, Any] = {}
    for player in PLAYERS:
        saved = run.optimizers[player].state_dict()
        values = {
            f"{player}/{index}/{name}": value
            for index, entry in saved["state"].items()
            for name, value in entry.items()
        }
        tensors, rest = _split(values)
        optimizer_tensors |= tensors
        optimizer_values[player] = {"groups": saved["param_groups"], "values": rest}
    plugin_tensors, plugin_values = _split(_plugin_states(run.plugins))
    random_state = RandomState.capture(run.device)
    files = {
        **{file: dict(run.networks[name].state_dict()) for name, file in network_files(run).items()},
        "optimizer.safetensors": optimizer_tensors,
        "plugins.safetensors": plugin_tensors,
        "random.safetensors": random_state.torch_states,
    }
    state: dict[str, Any] = {
        "iteration": run.iteration,
        "step_counts": run.step_counts,
        "stop_reason": run.stop_reason,
        "best": run.best.to_json() if run.best is not None else None,
        "rollbacks": run.rollbacks,
        "batches": run.batches.state_dict(),
        "data": run.data_record,
        "settings": fixed_settings(run.recipe),
        "optimizer": optimizer_values,
        "plugins": plugin_values,
        **random_state.to_json(),
    }
    if run.ranks.size > 1:
        state["ranks"] = run.ranks.size
    if run.origins:
        state["origins"] = run.origins
    return files, state


def network_files(run: TrainingRun) -> dict[str, str]:
    """Return a dict from the name of each saved network to the name of its checkpoint file."""
    return {name: f"{name}.safetensors" for name in run.saved_networks}


def restore(run: TrainingRun, tensors: Mapping[str, TensorFile], state: Mapping[str, Any]) -> None:
    """Restore the state of a run from `tensors` and `state`, which `capture` returned.

    Afterwards, call `restore_rank_state` to restore the state that differs between ranks.
    """
    assert run.batches is not None
    _restore_networks(run, tensors)
    for player in PLAYERS:
        _restore_optimizer(run, player, tensors["optimizer.safetensors"], state["optimizer"][player])
    # `plugins.safetensors` also contains the plugin state that belongs only to the first rank. Restore this state only
    # on the first rank, and only if the checkpoint was written with the same number of ranks.
    own_too = state.get("ranks", 1) == run.ranks.size and run.ranks.rank == 0
    shared = {key: plugin for key, plugin in run.plugins.items() if plugin.state_scope == "shared"}
    _restore_plugins(run, run.plugins if own_too else shared, tensors["plugins.safetensors"] | state["plugins"])
    run.batches.load_state_dict(state["batches"])
    run.iteration = state["iteration"]
    run.step_counts = state["step_counts"]
    run.stop_reason = state.get("stop_reason")
    run.origins = state.get("origins", {})
    if run.best is not None:
        run.best = run.best.restored(state.get("best"))
    # The random state is restored last, because the steps above may draw random numbers.
    RandomState.from_json(state, tensors["random.safetensors"]).restore(run.device)


def gather_rank_states(run: TrainingRun) -> dict[str, bytes]:
    """Collect the random states and plugin states of all other ranks on the first rank.

    On the first rank, return the content of one checkpoint file for each other rank, by file name. On all other ranks,
    return an empty dictionary. Every rank must call this function when the first rank saves a checkpoint.
    """
    if run.ranks.size == 1:
        return {}
    random_state = RandomState.capture(run.device)
    tensors, values = _split(_plugin_states(_rank_plugins(run)))
    card = {**random_state.to_json(), "plugins": values}
    data = tensors_to_bytes({f"{RANDOM}{name}": s for name, s in random_state.torch_states.items()} | tensors, card)
    return {_rank_file(rank): data for rank, data in enumerate(run.ranks.gather(data)) if rank}


def restore_rank_state(run: TrainingRun, place: Path, ranks: int) -> None:
    """Restore the random state and the plugin state that belong only to this rank. Call `restore` first.

    `ranks` is the number of ranks that wrote the checkpoint. If the run now has a different number of ranks, this
    function sets a new seed instead.
    """
    rank = run.ranks.rank
    if ranks != run.ranks.size:
        seed_all(derived_seed(run.recipe.seed, f"training/{rank}/{run.iteration}"))
    elif rank:
        tensors, card = read_tensors(place / _rank_file(rank))
        _restore_plugins(run, _rank_plugins(run), tensors | card["plugins"])
        states = {name.removeprefix(RANDOM): state for name, state in tensors.items() if name.startswith(RANDOM)}
        RandomState.from_json(card, states).restore(run.device)


def _rank_plugins(run: TrainingRun) -> dict[str, Plugin]:
    """Return the plugins whose state differs between ranks, by their keys in the recipe."""
    return {key: plugin for key, plugin in run.plugins.items() if plugin.state_scope != "shared"}


def _rank_file(rank: int) -> str:
    return f"rank-{rank}.safetensors"


def _plugin_states(plugins: Mapping[str, Plugin]) -> dict[str, Any]:
    """Return all values of the plugins' state dictionaries in one dictionary.

    Each key of the result starts with the recipe key of the plugin, as in `tricks.ada/p`.

    Raises:
        PluginError: a value cannot be saved.
    """
    states = {}
    for key, plugin in plugins.items():
        for name, value in plugin.state_dict().items():
            if not isinstance(value, (Tensor, int, float, str, bool, type(None))):
                raise PluginError(
                    f"{key}: state_dict returns a {type(value).__name__} under {name!r}; only tensors, numbers, "
                    "strings, booleans and None can be saved"
                )
            states[f"{key}/{name}"] = value
    return states


def _restore_plugins(run: TrainingRun, plugins: Mapping[str, Plugin], values: Mapping[str, Any]) -> None:
    """Load the state of each plugin from `values`, with keys that start with the plugin's key, as in `tricks.ada/p`."""
    for key, plugin in plugins.items():
        own = {
            name.removeprefix(f"{key}/"): value.to(run.device) if isinstance(value, Tensor) else value
            for name, value in values.items()
            if name.startswith(f"{key}/")
        }
        try:
            plugin.load_state_dict(own)
        except (KeyError, TypeError, RuntimeError, ValueError, IndexError) as error:
            raise ValueError(
                f"{key} cannot load the state that it saved ({', '.join(own) or 'empty'}): "
                f"{type(error).__name__}: {error}"
            ) from error


def _restore_networks(run: TrainingRun, tensors: Mapping[str, TensorFile]) -> None:
    for name, file in network_files(run).items():
        run.networks[name].load_state_dict(tensors[file])


def _restore_optimizer(run: TrainingRun, player: Player, tensors: TensorFile, saved: Mapping[str, Any]) -> None:
    optimizer = run.optimizers[player]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for path, value in (tensors | saved["values"]).items():
        owner, index, name = path.split("/", 2)
        if owner != player:
            continue
        parameter = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            # A fused optimiser requires that a parameter and its state have the same memory layout (strides).
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    # JSON has changed tuples, such as `betas`, into lists. Convert these lists to tuples again.
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in g.items()} for g in saved["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _split(values: Mapping[str, Any]) -> tuple[TensorFile, dict[str, Any]]:
    """Split a dictionary into two: one with its tensors, and one with its other values."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in values.items() if name not in tensors}
