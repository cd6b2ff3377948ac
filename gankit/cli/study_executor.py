"""Preparation of an ablation study or a search: a check of its recipes, and the executor that trains its runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gankit.errors import InputError
from gankit.recipe.recipe import Recipe
from gankit.runtime.torchrun_env import place_of_process
from gankit.training.assembly import assemble
from gankit.training.run import TrainingRun


def refuse_ranks(command: str) -> None:
    """Raise InputError if this process is one of several ranks. `command` is the name of the subcommand."""
    if place_of_process().size > 1:
        raise InputError(
            f"gankit {command} trains independent runs, without ranks; start it without torchrun, with --jobs or --ray"
        )


def assemble_on_cpu(recipe: Recipe) -> TrainingRun:
    """Check a recipe by building its run on the CPU, because the runs need the memory of the GPUs."""
    return assemble(replace(recipe, train=recipe.train.model_copy(update={"device": "cpu"})))


def study_executor(recipe: Recipe, jobs: int | None, address: str | None, threads: int | None) -> Any:
    """Return the executor that trains runs on the Ray cluster at `address`, or on this machine if `address` is None.

    If `jobs` or `threads` is None, its default is used.
    """
    import torch

    from gankit.ablation import local_executor as local
    from gankit.runtime.device import choose_device

    device = recipe.train.device
    if address is not None:
        from gankit.ablation.ray_executor import RayExecutor

        return RayExecutor(address, threads or local.threads_per_run(local.default_jobs(0)), device != "cpu")
    choose_device(device)
    # Distribute the runs over all GPUs, unless the recipe selects one GPU, such as `cuda:1`.
    gpus = local.visible_gpus(torch.cuda.device_count()) if device in ("auto", "cuda") else []
    jobs = jobs or (1 if ":" in device else local.default_jobs(len(gpus)))
    return local.LocalExecutor(jobs, threads or local.threads_per_run(jobs), gpus)
