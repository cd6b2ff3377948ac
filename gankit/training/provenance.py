"""Record of what a run ran on."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

from gankit.storage.provenance import plugin_record
from gankit.version import __version__

if TYPE_CHECKING:
    from gankit.training.run import Game


def environment_record(game: Game) -> dict[str, Any]:
    """What a run ran on. Of several ranks, each has a training seed."""
    import torch  # not above: to look into a run directory needs none

    from gankit.runtime.rng import training_seed

    recipe, device = game.recipe, game.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "gankit": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": sys.argv,
        "device": str(device),
        "device_name": name,
        "precision": "bf16" if game.bf16 else "fp32",
        "threads": torch.get_num_threads(),
        "seed": recipe.seed,
        "training_seeds": [training_seed(recipe.seed, rank) for rank in range(game.ranks.size)],
        "parameters": {p: sum(w.numel() for w in network.parameters()) for p, network in game.networks.items()},
        "advice": game.advice,
        "plugins": plugin_record(recipe),
    }


def changed_machine(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One sentence for each fact of the machine that has changed, and with it, perhaps, the last digits of sums."""
    facts = ("torch", "device_name", "threads", "precision")
    return [
        f"{fact.replace('_', ' ')}: the run was on {before[fact]} and is now on {now[fact]}; the bytes may differ"
        for fact in facts
        if before.get(fact, now[fact]) != now[fact]
    ]
