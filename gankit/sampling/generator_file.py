"""Generator files: safetensors files with the weights of a generator, and with metadata to rebuild this generator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gankit.errors import InputError, PluginError
from gankit.plugin.condition import ImageCondition
from gankit.plugin.hooks import Hooks
from gankit.plugin.registry import Registry
from gankit.plugin.slots import Player
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import Recipe, RecipeParser
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes
from gankit.storage.checkpoint import read_tensors
from gankit.storage.hub import download_generator, is_address, parse_address
from gankit.storage.provenance import plugin_record
from gankit.storage.quantisation import dequantise
from gankit.storage.run_dir import RunDir
from gankit.storage.trained_network import Origin
from gankit.version import __version__

FORMAT = 2

SHAPING_HOOKS = (
    "build_generator",
    "sample_latent",
    "sampling_conditions",
    "truncate_latent",
    "sampling_latent",
    "draw_samples",
    "save_samples",
    "save_sample_file",
)
"""Hook points that affect the samples of a saved generator.

Sampling needs the plugins that implement these hook points. It also needs the generator's normalisation plugin, and
plugins that change the structure of the generator with the hook `wrap_network`.
"""


class SampledRun(Protocol):
    """Interface (`typing.Protocol`) of a run for sampling: the attributes and methods that sampling uses."""

    recipe: Recipe
    hooks: Hooks
    spec: Spec
    device: torch.device
    iteration: int
    wrapped_by: dict[Player, list[str]]
    condition_examples: Tensor | None
    origins: dict[str, Origin]

    def sampled_generator(self) -> nn.Module: ...

    def sampled_generator_name(self) -> str: ...


def save_generator(run: SampledRun, path: Path, **facts: Any) -> None:
    """Write a generator file with the weights of a run's generator, and metadata to rebuild this generator.

    If a plugin provides another generator for sampling, such as a moving average, the file contains that generator.
    `facts` are added to the metadata.
    """
    shaping = {i.key for hook in SHAPING_HOOKS for i in run.hooks.of(hook)}
    shaping |= {"normalization.generator", *run.wrapped_by["generator"]}
    spec = {k: v for k, v in vars(run.spec).items() if k not in ("normalize", "condition")}
    condition, examples = run.spec.condition, run.condition_examples
    # If the condition is an image, the example conditions are images of the dataset. Do not write them to the file,
    # because the file would be large and would contain parts of the dataset.
    keep_examples = run.spec.conditional and not isinstance(condition, ImageCondition)
    card = {
        "format": FORMAT,
        "gankit": __version__,
        "torch": torch.__version__,
        "iteration": run.iteration,
        "generator": run.sampled_generator_name(),
        "device": run.device.type,
        "spec": spec | {"condition": None if condition is None else condition.to_card()},
        "condition_examples": examples.tolist() if examples is not None and keep_examples else None,
        "recipe": run.recipe.to_dict(),
        "plugins": plugin_record(run.recipe.components),
        "needed": [key for key in run.recipe.components if key in shaping and key != "discriminator"],
        **facts,
    }
    if facts_of_plugins := _facts_of_plugins(run):
        card["facts"] = facts_of_plugins
    if run.origins:
        card["origins"] = run.origins
    write_bytes(path, tensors_to_bytes(run.sampled_generator().state_dict(), card))


def _facts_of_plugins(run: SampledRun) -> dict[str, float | str]:
    """Return the facts from the `generator_facts` hooks, by name.

    Raises:
        PluginError: two plugins return a fact with the same name.
    """
    facts: dict[str, float | str] = {}
    for implementation in run.hooks.of("generator_facts"):
        own = implementation.call(run) or {}
        if twice := facts.keys() & own.keys():
            raise PluginError(f"{implementation.key}: another plugin returns the generator fact {min(twice)!r} too")
        facts |= own
    return facts


def untrusted_uses(card: dict[str, Any]) -> list[str]:
    """Return the plugins that a generator file specifies by module or path, such as `./trick.py:MyTrick`.

    Only plugins that sampling needs are returned. `card` is the metadata of the file.
    """
    parser = RecipeParser(card["recipe"], "generator", Registry([]))
    return [use for use in parser.uses_at(card["needed"]) if ":" in use]


def refuse_untrusted(path: Path, uses: Iterable[str]) -> None:
    """Raise InputError if a file specifies plugins by module or path. Importing such a plugin could run unknown code.

    `uses` lists all plugins of the file `path`, each by name, module or path.
    """
    if untrusted := sorted({use for use in uses if ":" in use}):
        raise InputError(f"{path} imports {', '.join(untrusted)}; if you trust it, add --trust")


def generator_file(path: Path) -> Path:
    """Return the path of the generator file in the run directory `path`. If `path` is not a directory, return `path`.

    If `path` is an address on the hub, such as `hf://USER/NAME`, download the generator file.

    Raises:
        InputError: `path` is a directory without a run or without a generator file, or the download is not possible.
    """
    if is_address(path):
        return download_generator(parse_address(path))
    if not path.is_dir():
        return path
    file = RunDir.open(path).generator_file
    if not file.exists():
        raise InputError(f"{path}: no generator is saved yet; `gankit resume {path}` resumes the run")
    return file


def check_output(out: Path, sources: Iterable[Path]) -> None:
    """Check the path of a generator file that is made from other generator files, before the work starts.

    Raises:
        InputError: `out` has another suffix, is a folder, or is one of the files in `sources`.
    """
    if out.suffix.lower() != ".safetensors" or out.is_dir():
        raise InputError(f"--out {out}: choose the name of a file that ends in .safetensors")
    if out.exists() and any(source.exists() and out.samefile(source) for source in sources):
        raise InputError(f"--out {out}: is the generator itself; choose another name")


def read_generator_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the metadata and the tensors of a generator file. Weights that are stored in 8 bits are converted.

    Raises:
        InputError: the file is missing, truncated, or not a generator file.
    """
    if not path.is_file():
        raise InputError(f"there is no generator file {path}")
    tensors, card = read_tensors(path)
    if not _is_card(card):
        raise InputError(f"{path} is not a generator file that this version of gankit can read")
    return card, dequantise(tensors)


def _is_card(card: Any) -> bool:
    """Return True if a value has the structure of the metadata of a generator, or of an ensemble of generators."""
    tables = {"recipe": dict, "spec": dict, "plugins": dict, "needed": list}
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        return False
    members, weights = card.get("members", []), card.get("weights", [])
    return (
        all(isinstance(card.get(name), kind) for name, kind in tables.items())
        and isinstance(members, list)
        and isinstance(weights, list)
        and len(members) == len(weights)
        and all(map(_is_card, members))
    )
