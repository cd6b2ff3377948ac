"""Files that the clients of federated training exchange: the tensors of networks, and the number of the round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gankit import InputError, write_bytes

UPDATE = "update.safetensors"
"""Name of the file in a client's run directory with its networks at the end of its last round."""


def averaged_tensors(networks: Mapping[str, nn.Module], average: str) -> dict[str, Tensor]:
    """Return the tensors of the networks that are averaged, by name, such as `generator/conv.weight`.

    Args:
        networks: networks of a run, by name.
        average: `generator`, or `both` for all networks with trained parameters.
    """
    names = [
        name
        for name, network in networks.items()
        if name == "generator" or (average == "both" and any(p.requires_grad for p in network.parameters()))
    ]
    return {f"{name}/{key}": tensor for name in names for key, tensor in networks[name].state_dict().items()}


def load_tensors(networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors with names such as `generator/conv.weight` into the networks of a run.

    Raises:
        InputError: there is no such network, or a name or a shape differs.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        network, _, key = name.partition("/")
        states.setdefault(network, {})[key] = tensor
    for name, state in states.items():
        if name not in networks:
            raise InputError(f"the average has a network {name!r}, which the recipe does not have; use one recipe")
        try:
            networks[name].load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"the average does not fit the recipe; use the recipe of all clients: {reason}") from error


def write_round(path: Path, tensors: Mapping[str, Tensor], number: int) -> None:
    """Write the tensors of round `number` to a file in the safetensors format."""
    # safetensors does not accept tensors that share memory, so every tensor is copied.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, save(copies, {"gankit": json.dumps({"round": number})}))


def read_round(path: Path) -> tuple[dict[str, Tensor], int]:
    """Return the tensors of a file that `write_round` wrote, and the number of the round.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            number = int(json.loads(file.metadata()["gankit"])["round"])
            return {name: file.get_tensor(name) for name in file.keys()}, number  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = "cannot be read; it may be truncated" if path.exists() else "does not exist"
        raise InputError(f"{path} {reason}; `gankit federated` writes this file") from error
