"""The generator file: weights and all that is needed to rebuild the generator."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.plugin.registry import Registry
from gankit.recipe.recipe import Reader
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes
from gankit.storage.provenance import plugin_record
from gankit.training.run import Game
from gankit.version import __version__

FORMAT = 1


SHAPING_HOOKS = ("build_generator", "wrap_network", "sample_latent", "sampling_latent", "draw_samples")
"""A plugin with one of these has a hand in what a saved generator is, and is needed to sample from it."""


def sampled_generator(game: Game) -> nn.Module:
    """The generator that samples are drawn from: a plugin's, the moving average for instance, or the trained one."""
    chosen = game.sampling_generator(game) if game.sampling_generator is not None else None
    return game.generator if chosen is None else chosen


def drawn_from(game: Game) -> str:
    """Which generator `sampled_generator` gives: the newest, or the name of the plugin that gives another."""
    if sampled_generator(game) is game.generator:
        return "newest"
    return game.hooks.of("sampling_generator")[0].plugin.name


def save_generator(game: Game, path: Path) -> None:
    """The generator to sample from, with all that it takes to rebuild it in the file's metadata.

    Raises GankitError when the disk is full.
    """
    generator = sampled_generator(game)
    shaping = {i.key for hook in SHAPING_HOOKS for i in game.hooks.of(hook)} | {"normalization.generator"}
    spec = {k: v for k, v in vars(game.spec).items() if k != "normalize"}
    card = {
        "format": FORMAT,
        "gankit": __version__,
        "torch": torch.__version__,
        "iteration": game.iteration,
        "generator": drawn_from(game),
        "device": game.device.type,
        "spec": spec,
        "recipe": game.recipe.to_dict(),
        "plugins": plugin_record(game.recipe),
        "needed": [key for key in game.recipe.parts if key in shaping and key != "discriminator"],
    }
    write_bytes(path, tensors_to_bytes(generator.state_dict(), card))


def strange_uses(card: dict[str, Any]) -> list[str]:
    """What a generator's card names by module or by path, rather than as a plugin that is installed under a name.

    Asked of the recipe, which is what will be followed, and not of what the file says of itself elsewhere.
    """
    reader = Reader(card["recipe"], "generator", Registry([]))
    return [use for use in reader.uses_at(card["needed"]) if ":" in use]


def refuse_strange(path: Path, uses: Iterable[str]) -> None:
    """Raises InputError when a file wants to import by module or by path, which only the user may allow."""
    if strange := sorted({use for use in uses if ":" in use}):
        raise InputError(f"{path} wants to import {', '.join(strange)}; if you trust it, say --trust")


def read_generator_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card and the tensors of a generator file.

    Raises InputError when it is missing, truncated, or something else.
    """
    if not path.is_file():
        raise InputError(f"there is no generator file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})["gankit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (KeyError, ValueError):
        raise InputError(f"{path} is no generator of gankit's: its metadata does not say how to rebuild it") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read; it may be truncated ({error})") from error
    tables = {"recipe": dict, "spec": dict, "plugins": dict, "needed": list}
    if (
        not isinstance(card, dict)
        or card.get("format") != FORMAT
        or not all(isinstance(card.get(name), kind) for name, kind in tables.items())
    ):
        raise InputError(f"{path} is no generator that this version of gankit can read")
    return card, tensors
