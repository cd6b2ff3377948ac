"""Settings of gankit itself: the tables `[train]`, `[output]`, `[evaluation]` and `[init]` of a recipe."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from gankit.plugin.base import Settings


class Train(Settings):
    """Table `[train]`: settings of the training."""

    iterations: int = Field(2000, ge=1, description="number of iterations: the D steps, then one G step")
    batch_size: int = Field(64, ge=1, description="number of images in one step")
    accumulate: int = Field(1, ge=1, description="number of gradient-accumulation steps per update")
    discriminator_steps: int = Field(1, ge=1, description="number of D steps in one iteration")
    class_balanced: bool = Field(
        False, description="same number of images of each class in every batch; some networks require it"
    )
    sync_batch_norm: bool = Field(
        False, description="with several processes, batch norm uses the statistics of the whole batch"
    )
    device: str = Field("auto", description="device: auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32", description="bf16: autocast to bfloat16; auto: bf16 if the processor supports it"
    )
    channels_last: bool = Field(True, description="channels-last memory format of images and convolutions")
    tf32: bool = Field(True, description="on a GPU, use TensorFloat-32 for fp32 matrix products")
    deterministic: bool = Field(False, description="on a GPU, use deterministic kernels only, as exact resume requires")
    keep_freed_memory: bool = Field(
        True, description="on a CPU with glibc, keep freed memory for the next iteration: faster, but more memory"
    )
    rollbacks: int = Field(
        0, ge=0, description="number of returns to the last good checkpoint, after NaN, infinity or a collapse"
    )
    rollback_factor: float = Field(0.5, gt=0, le=1, description="factor of all learning rates after each rollback")


class Output(Settings):
    """Table `[output]`: settings of the files that a run writes.

    Except for `patience`, which may end a run, these settings do not affect the training.
    """

    directory: Path = Field(Path("runs"), description="run directories are created as DIRECTORY/NAME/TIME")
    log_every: int = Field(30, ge=1, description="iterations between lines of log.jsonl")
    sample_every: int = Field(100, ge=1, description="iterations between grids in samples/")
    checkpoint_every: int = Field(100, ge=1, description="iterations between checkpoints")
    keep_checkpoints: int = Field(3, ge=1, description="number of checkpoints to keep; older ones are deleted")
    sample_count: int = Field(64, ge=1, description="number of images in a grid")
    keep_best: str | None = Field(
        None, description="metric of the recipe, such as frechet_distance: best.safetensors is the best generator by it"
    )
    patience: int | None = Field(
        None, ge=1, description="number of evaluations without a better `keep_best` after which the run ends"
    )

    @field_validator("patience")
    @classmethod
    def _require_metric(cls, patience: int | None, info: ValidationInfo) -> int | None:
        # If `keep_best` is invalid, it is missing in `info.data`. Pydantic reports it, so raise no second error.
        if patience is not None and info.data.get("keep_best", "") is None:
            raise ValueError('set keep_best to a metric too, such as "frechet_distance"')
        return patience


PERCENT = r"^(\d+(?:\.\d+)?) ?%$"  # regular expression for percentages such as `5%`


class Evaluation(Settings):
    """Table `[evaluation]`: settings for all metrics in `[metrics]`. These settings do not affect the training."""

    every: int = Field(500, ge=1, description="iterations between evaluations; there is always one at the end of a run")
    count: int = Field(2000, ge=2, description="number of generated images, and of real images at most")
    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of z and of the choice of real images, independent of the seed of the run"
    )
    budget: float = Field(
        0.05,
        gt=0,
        le=1,
        description='share of the time for evaluations, as 0.05 or "5%"; an evaluation that exceeds it is skipped',
        json_schema_extra={"type": ["number", "string"], "pattern": PERCENT},
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _parse_percentage(cls, budget: Any) -> Any:
        if not isinstance(budget, str):
            return budget
        if (percent := re.fullmatch(PERCENT, budget)) is None:
            raise ValueError('write "5%" or 0.05')
        return float(percent[1]) / 100


class Init(Settings):
    """Table `[init]`: paths to trained networks whose weights are the initial weights of a new run.

    Each key except `map` is the name of a network of the run, such as `generator`. The value is the path to a
    safetensors file, a checkpoint or a run directory with the trained network.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Path]

    map: dict[str, dict[str, str]] = Field(
        {},
        description="for a network, names of tensors or modules in the source, and their names in the run",
    )

    @property
    def sources(self) -> dict[str, Path]:
        """Path to the file, checkpoint or run directory with the trained weights of each network, by network name."""
        return self.__pydantic_extra__
