"""The core's own tables of a recipe: `[train]`, `[output]` and `[evaluation]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from gankit.plugin.base import Settings


class Train(Settings):
    """The `[train]` table: how the game is played."""

    iterations: int = Field(2000, ge=1, description="one cycle of turns each")
    batch_size: int = Field(64, ge=1, description="images in one turn")
    accumulate: int = Field(
        1, ge=1, description="a turn's batch is worked through in this many parts, for batches beyond memory"
    )
    discriminator_steps: int = Field(1, ge=1, description="turns of D for each turn of G")
    class_balanced: bool = Field(
        False, description="the same number of images of each class in every batch; some networks insist"
    )
    sync_batch_norm: bool = Field(
        False, description="with several ranks, batch norm's statistics are of the whole batch, not of each rank's part"
    )
    device: str = Field("auto", description="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32",
        description="bf16: matrix products in bfloat16 by autocast; auto: bf16 where the processor computes in it",
    )
    channels_last: bool = Field(True, description="memory format of images and convolutions")
    tf32: bool = Field(True, description="on a GPU, fp32 matrix products in TensorFloat-32")
    deterministic: bool = Field(
        False, description="on a GPU, only kernels that repeat to the bit, as exact resume needs"
    )
    keep_freed_memory: bool = Field(
        True,
        description="on a CPU with glibc, freed memory is kept for the next iteration: faster, more memory",
    )


class Output(Settings):
    """The `[output]` table: what a run writes, and how often. Nothing here changes what is learnt."""

    directory: Path = Field(Path("runs"), description="run directories are made as DIRECTORY/NAME/TIME")
    log_every: int = Field(30, ge=1, description="iterations between lines of log.jsonl")
    sample_every: int = Field(100, ge=1, description="iterations between grids in samples/")
    checkpoint_every: int = Field(100, ge=1, description="iterations between checkpoints")
    keep_checkpoints: int = Field(3, ge=1, description="older checkpoints are removed")
    sample_count: int = Field(64, ge=1, description="images in a grid")


PERCENT = r"^(\d+(?:\.\d+)?) ?%$"
"""A share in words: `5%`."""


class Evaluation(Settings):
    """The `[evaluation]` table: how `[metrics]` are taken. Nothing here changes what is learnt."""

    every: int = Field(500, ge=1, description="iterations between evaluations; the end of a run always has one")
    count: int = Field(2000, ge=2, description="images drawn, and as many real ones, or all there are")
    seed: int = Field(0, ge=0, lt=2**63, description="of z and of the choice of real images, whatever the run's")
    budget: float = Field(
        0.05,
        gt=0,
        le=1,
        description='share of the run\'s time, or "5%"; an evaluation that would exceed it is left out',
        json_schema_extra={"type": ["number", "string"], "pattern": PERCENT},
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _of_a_hundred(cls, budget: Any) -> Any:
        if not isinstance(budget, str):
            return budget
        if (percent := re.fullmatch(PERCENT, budget)) is None:
            raise ValueError('write "5%" or 0.05')
        return float(percent[1]) / 100
