"""A run in Weights & Biases."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL.Image import Image
from pydantic import Field

from gankit import Settings, hookimpl
from gankit_plugins.logger.logger import Logger, Row, advice_of, scalars, stream_of
from gankit_plugins.logger.upload_state import Sent

if TYPE_CHECKING:
    from gankit import Run


FLUSH = 0.1
"""Seconds after which a row is on the disk. Of wandb's own 15, all would be lost when the process is killed."""


class WeightsAndBiases(Logger):
    """Logs a run for Weights & Biases: numbers, grids, advice, recipe; on the disk or, if you say so, to the service.

    Source: the library `wandb`. Offline, nothing leaves the machine, and `wandb sync RUN/wandb/offline-run-*` uploads
    the run when you wish. The library's own reports of errors are off, unless WANDB_ERROR_REPORTING says otherwise. A
    resumed run goes on under the same id, offline in another folder, and leaves out what was logged already: that
    cannot be taken back, and is the same anyway, as resume is exact. (On another machine the last digits may differ.)
    A kill may cost it what was logged within the last tenth of a second, which no resumed run brings back. Plots are
    over `iteration`; wandb's own step counts rows and pictures. Needs `pip install 'gankit[wandb]'`.

    When to use: where runs are kept and shared in Weights & Biases.
    When not: to look at a run on this machine only: `tensorboard` has a viewer that needs no account.
    """

    name = "wandb"
    kind = "logger"
    library = ("wandb",)

    class Config(Settings):
        mode: Literal["offline", "online"] = Field("offline", description="online sends everything to the service")
        project: str | None = Field(None, description="the recipe's name, if left out")
        entity: str | None = Field(None, description="the user or team; your default one, if left out")
        run: str | None = Field(None, description="the run's name; its directory's, if left out")
        folder: str = Field(
            ".", description="in which wandb makes its own folder `wandb`, relative to the run directory"
        )
        grids: bool = Field(True, description="log the grids of samples as images")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        # It would report errors of its own to its makers, offline too.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.directory = directory
        folder = directory / self.config.folder
        self.sent = Sent(folder / "wandb" / "gankit.json")
        self.run = wandb.init(
            mode=self.config.mode,
            dir=folder,
            id=self.sent.run or self.sent.named(secrets.token_hex(4)),
            resume="allow",
            # Beside a run that somebody has in the same process, not instead of it.
            reinit="create_new",
            project=self.config.project or run.recipe.name,
            entity=self.config.entity,
            name=self.config.run or directory.resolve().name,
            config=run.recipe.to_dict(),
            settings=wandb.Settings(
                console="off",  # the terminal is the progress display's
                silent=self.config.mode == "offline",
                allow_val_change=True,  # a run may be prolonged
                x_transaction_log_flush_interval=FLUSH,
            ),
        )
        self.run.define_metric("*", step_metric="iteration")
        self.catch_up(directory)

    def write(self, row: Row) -> None:
        if "warning" in row:
            self.run.summary["warning"] = advice_of(self.directory)
        else:
            self._send(stream_of(row), row["iteration"], scalars(row))

    @hookimpl
    def on_grid(self, run: Run, picture: Image) -> None:
        if self.config.grids:
            self.attempt(run, lambda: self._draw(run.iteration, picture))

    def _draw(self, iteration: int, picture: Image) -> None:
        import wandb

        self._send("grid", iteration, {"samples": wandb.Image(picture)})

    def _send(self, stream: str, iteration: int, values: dict[str, Any]) -> None:
        if self.sent.lacks(stream, iteration):
            # Committed at once, or a kill would lose it; under a step of its own, as a step is closed by that.
            self.run.log({"iteration": iteration} | values, step=self.sent.count, commit=True)
            self.sent.note(stream, iteration)

    def close(self, run: Run) -> None:
        self.run.finish(exit_code=1 if run.failure else 0)
