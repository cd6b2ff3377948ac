"""The work that is timed on a GPU: the papers' recipes at their own sizes, on images of noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from workloads import PARTS

from gankit import Recipe
from gankit.recipe.toml import merge, read_toml
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.run import TrainingRun

RECIPES = Path(__file__).parents[1] / "recipes"

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TRAIN: dict[Precision, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "tf32": False},
    "tf32": {"precision": "fp32", "tf32": True},
    "bf16": {"precision": "bf16", "tf32": True},
}
"""What each is in a recipe. bf16 is autocast; what stays in fp32 beside it is in TF32."""


@dataclass(frozen=True)
class Workload:
    """A recipe that comes with gankit, and what of it the images decide."""

    title: str
    recipe: str
    resolution: int
    batch_sizes: tuple[int, int]
    """The recipe's own, and a large one."""

    classes: int = 0


WORKLOADS = {
    "dcgan_64": Workload("DCGAN 64", "dcgan_paper.toml", 64, (128, 1024)),
    "igan_96": Workload("IGAN 96", "igan_paper.toml", 96, (64, 256)),
    # The nearest multiple of ten to the recipe's 64.
    "igan_vn_96": Workload("IGAN_vN 96, N = 10", "igan_vn_paper.toml", 96, (60, 240), classes=10),
}

QUICK: dict[str, Any] = {"generator": {"width": 4}, "discriminator": {"width": 4}}
QUICK_IGAN: dict[str, Any] = {"generator": {"channels": 4}, "discriminator": {"width": 2}}
"""Networks so small that only the program is tried."""


def assembled(
    name: str, precision: Precision, device: str, batch_size: int | None = None, quick: bool = False, **train: Any
) -> TrainingRun:
    """A workload's game with its data loaded, the process's switches set as its recipe has them.

    Args:
        name: of the workload.
        precision: of matrix products and convolutions.
        device: where it is played.
        batch_size: None for the recipe's own.
        quick: tiny networks, images and batches.
        train: further settings of the table `[train]`.
    """
    read = recipe(name, precision, device, batch_size, quick, **train)
    prepare_torch(read)
    run = assemble(read)
    run.load_data()
    run.start()
    return run


def recipe(
    name: str, precision: Precision, device: str, batch_size: int | None = None, quick: bool = False, **train: Any
) -> Recipe:
    """A workload's recipe; the arguments are as for `assembled`."""
    work = WORKLOADS[name]
    size = 2 * max(2, work.classes) if quick else batch_size or work.batch_sizes[0]
    data = {
        "use": f"{PARTS}:RandomImages",
        "channels": 3,
        "count": size if quick else 8 * work.batch_sizes[1],
        "resolution": 12 if quick else work.resolution,
        "classes": work.classes,
    }
    changes: dict[str, Any] = {
        "train": {"device": device, "batch_size": size, "keep_freed_memory": False, **TRAIN[precision], **train},
        "data": data,
    }
    if quick:
        changes = merge(changes, QUICK if "dcgan" in name else QUICK_IGAN)
    return Recipe.from_dict(merge(read_toml(RECIPES / work.recipe), changes), source=RECIPES / work.recipe)
