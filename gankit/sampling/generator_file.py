"""The generator file: weights and all that is needed to rebuild the generator."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.plugin.hooks import Hooks
from gankit.plugin.registry import Registry
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import Recipe, RecipeParser
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes
from gankit.storage.provenance import plugin_record
from gankit.version import __version__

FORMAT = 1

SHAPING_HOOKS = ("build_generator", "wrap_network", "sample_latent", "sampling_latent", "draw_samples")
"""Hook points that decide what a saved generator is. A plugin with one of them is needed to sample from the file."""


class SampledRun(Protocol):
    """Part of a run that sampling needs."""

    recipe: Recipe
    hooks: Hooks
    spec: Spec
    device: torch.device
    iteration: int

    def sampled_generator(self) -> nn.Module:
        """Return the generator to sample from."""
        ...

    def sampled_generator_name(self) -> str:
        """Return the name of the plugin that provides `sampled_generator`, or `newest` for the trained one."""
        ...


def save_generator(run: SampledRun, path: Path) -> None:
    """Write the generator to sample from, with all that is needed to rebuild it in the metadata of the file.

    Raises:
        GankitError: the disk is full.
    """
    shaping = {i.key for hook in SHAPING_HOOKS for i in run.hooks.of(hook)} | {"normalization.generator"}
    spec = {k: v for k, v in vars(run.spec).items() if k != "normalize"}
    card = {
        "format": FORMAT,
        "gankit": __version__,
        "torch": torch.__version__,
        "iteration": run.iteration,
        "generator": run.sampled_generator_name(),
        "device": run.device.type,
        "spec": spec,
        "recipe": run.recipe.to_dict(),
        "plugins": plugin_record(run.recipe.components),
        "needed": [key for key in run.recipe.components if key in shaping and key != "discriminator"],
    }
    write_bytes(path, tensors_to_bytes(run.sampled_generator().state_dict(), card))


def untrusted_uses(card: dict[str, Any]) -> list[str]:
    """What a generator's card names by module or by path, rather than as a plugin that is installed under a name.

    Asked of the recipe, which is what will be followed, and not of what the file says of itself elsewhere.
    """
    reader = RecipeParser(card["recipe"], "generator", Registry([]))
    return [use for use in reader.uses_at(card["needed"]) if ":" in use]


def refuse_untrusted(path: Path, uses: Iterable[str]) -> None:
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
