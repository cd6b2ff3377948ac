"""Logger that sends a run to Weights & Biases."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL.Image import Image
from pydantic import Field

from gankit import Settings, hookimpl
from gankit_plugins.logger.logger import Logger, Row, all_warnings, kind_of, scalars
from gankit_plugins.logger.upload_state import UploadState

if TYPE_CHECKING:
    from gankit import Run


FLUSH_SECONDS = 0.1
"""Delay in seconds before wandb writes a row to disk (wandb's default: 15). A killed process loses unwritten rows."""


class WeightsAndBiases(Logger):
    """Logger for Weights & Biases, online or offline: numbers, image grids, warnings and recipe of a run.

    In offline mode, no data leaves the machine; `wandb sync RUN/wandb/offline-run-*` uploads the run. wandb does not
    report its own errors to its developers, unless the environment variable WANDB_ERROR_REPORTING is set to true. The
    x-axis of plots is `iteration`, because wandb's own step number counts rows and images instead of iterations. To
    install the library, run `pip install 'gankit[wandb]'`.

    A resumed run has the same id in wandb; in offline mode, it is written to a new folder. The resumed run repeats the
    iterations after its checkpoint. Rows that wandb already has are not sent again, because the resumed run computes
    the same values. On another machine, the last digits of the values may differ. If the process is killed, the rows of
    its last 0.1 s may be lost.

    Source: the library `wandb`.

    When to use: if you keep and share runs in Weights & Biases.
    When not: to view a run on this machine only; use `tensorboard`, whose viewer needs no account.
    """

    name = "wandb"
    kind = "logger"
    library = ("wandb",)

    class Config(Settings):
        mode: Literal["offline", "online"] = Field("offline", description="online: send everything to the service")
        project: str | None = Field(None, description="name of the project; default: the recipe's name")
        entity: str | None = Field(None, description="user or team; default: your default entity")
        run: str | None = Field(None, description="name of the run; default: the name of its directory")
        folder: str = Field(
            ".", description="folder in which wandb creates its folder `wandb`, relative to the run directory"
        )
        grids: bool = Field(True, description="whether to log the grids of samples")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        # Without this variable, wandb sends reports of its own errors to its developers, even offline.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.directory = directory
        folder = directory / self.config.folder
        self.uploaded = UploadState(folder / "wandb" / "gankit.json")
        self.run = wandb.init(
            mode=self.config.mode,
            dir=folder,
            id=self.uploaded.run_id or self.uploaded.set_run_id(secrets.token_hex(4)),
            resume="allow",
            # Create a new wandb run, and leave other wandb runs of this process active.
            reinit="create_new",
            project=self.config.project or run.recipe.name,
            entity=self.config.entity,
            name=self.config.run or directory.resolve().name,
            config=run.recipe.to_dict(),
            settings=wandb.Settings(
                console="off",  # do not capture terminal output, because it includes gankit's progress display
                silent=self.config.mode == "offline",
                allow_val_change=True,  # a resumed run may have a larger `train.iterations`
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            ),
        )
        self.run.define_metric("*", step_metric="iteration")
        self.catch_up(directory)

    def write(self, row: Row) -> None:
        if "warning" in row:
            self.run.summary["warning"] = all_warnings(self.directory)
        else:
            self._send(kind_of(row), row["iteration"], scalars(row))

    @hookimpl
    def on_grid(self, run: Run, picture: Image) -> None:
        if self.config.grids:
            self.attempt(run, lambda: self._send_grid(run.iteration, picture))

    def _send_grid(self, iteration: int, picture: Image) -> None:
        import wandb

        self._send("grid", iteration, {"samples": wandb.Image(picture)})

    def _send(self, kind: str, iteration: int, values: dict[str, Any]) -> None:
        if self.uploaded.lacks(kind, iteration):
            # Commit each row immediately, because a killed process loses uncommitted rows. Each commit needs a new step
            # number, so the step is the number of rows and images instead of the iteration.
            self.run.log({"iteration": iteration} | values, step=self.uploaded.count, commit=True)
            self.uploaded.record(kind, iteration)

    def close(self, run: Run) -> None:
        self.run.finish(exit_code=1 if run.failure else 0)
