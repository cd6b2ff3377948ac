"""Record of the software and hardware that a run uses."""

from __future__ import annotations

import platform
import sys
from typing import Any

import torch

from gankit.runtime.device import accelerator_module
from gankit.runtime.rng import training_seed
from gankit.storage.provenance import plugin_record
from gankit.training.run import TrainingRun
from gankit.version import __version__


def environment_record(run: TrainingRun) -> dict[str, Any]:
    """Return the content of `environment.json`, which lists software versions, device, seeds and plugins of a run."""
    recipe, device = run.recipe, run.device
    get_name = getattr(accelerator_module(device.type), "get_device_name", None)
    name = get_name(device) if get_name is not None else platform.processor() or platform.machine()
    record = {
        "gankit": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": sys.argv,
        "device": str(device),
        "device_name": name,
        "precision": "bf16" if run.bf16 else "fp32",
        "threads": torch.get_num_threads(),
        "seed": recipe.seed,
        "training_seeds": [training_seed(recipe.seed, rank) for rank in range(run.ranks.size)],
        "parameters": {p: sum(w.numel() for w in network.parameters()) for p, network in run.networks.items()},
        "warnings": run.warnings,
        "plugins": plugin_record(recipe.components),
    }
    return record | ({"origins": run.origins} if run.origins else {})


def changed_machine(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Compare two environment records. Return a message for each difference that may change numerical results."""
    facts = ("torch", "device_name", "threads", "precision")
    return [
        f"{fact.replace('_', ' ')}: the run was on {before[fact]} and is now on {now[fact]}; the bytes may differ"
        for fact in facts
        if before.get(fact, now[fact]) != now[fact]
    ]
