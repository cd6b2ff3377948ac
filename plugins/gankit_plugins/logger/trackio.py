"""Logger that writes a run to Trackio."""

from __future__ import annotations

import io
import os
import secrets
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image
from pydantic import Field

from gankit import Settings, hookimpl
from gankit_plugins.logger.logger import Logger, Row, kind_of, read_rows, scalars
from gankit_plugins.logger.upload_state import UploadState

if TYPE_CHECKING:
    from gankit import Run

REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""Environment variables with which the user sends all runs to a Space or to a server."""


@contextmanager
def strict() -> Iterator[None]:
    """Raise RuntimeError if trackio warns in the `with` block, and discard what trackio prints.

    trackio reports its errors as warnings of class UserWarning. Its messages would disturb gankit's progress display.
    """
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        yield
    if errors := [str(one.message) for one in caught if one.category is UserWarning]:
        raise RuntimeError(errors[0])


@contextmanager
def hub_offline() -> Iterator[None]:
    """Prevent requests to the Hugging Face Hub in the `with` block."""
    from huggingface_hub import constants

    previous, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = previous


class Trackio(Logger):
    """Logger for Trackio, local or in a Hugging Face Space: numbers, image grids, warnings and recipe of a run.

    By default, no data leaves the machine. Trackio keeps all runs in one folder, so that its page shows them side by
    side. The folder is TRACKIO_DIR if this environment variable is set, and otherwise `trackio` in the cache of Hugging
    Face. `trackio show` opens the page. With `space_id`, Trackio sends the run to this Space. Environment variables of
    Trackio, such as TRACKIO_SPACE_ID, TRACKIO_SERVER_URL and TRACKIO_WEBHOOK_URL, also make it send data. To install
    the library, run `pip install 'gankit[trackio]'`.

    A resumed run continues the same run in Trackio. The resumed run repeats the iterations after its checkpoint. Rows
    that Trackio already has are not sent again, because the resumed run computes the same values. On another machine,
    the last digits of the values may differ. Warnings of the run are alerts in Trackio. If the process is killed, the
    rows of its last 0.5 s may be lost.

    Source: the library `trackio`.

    When to use: to compare runs in a browser without an account, or to show them in a Hugging Face Space.
    When not: if each run must have its own files; use `tensorboard`, which writes into the run directory.
    """

    name = "trackio"
    kind = "logger"
    library = ("trackio",)

    class Config(Settings):
        space_id: str | None = Field(
            None, description="Space that gets the run, such as `user/space`, created as private; default: none, local"
        )
        project: str | None = Field(None, description="name of the project; default: the recipe's name")
        run: str | None = Field(
            None, description="name of the run, to which random digits are added; default: the name of its directory"
        )
        folder: str = Field("trackio", description="folder, relative to the run directory, for the name of the run")
        grids: bool = Field(True, description="whether to log the grids of samples")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        import trackio

        self.directory = directory
        self.uploaded = UploadState(directory / self.config.folder / "gankit.json")
        # trackio finds a run to resume by its name, so the name must be unique in the project.
        name = self.uploaded.run_id or f"{self.config.run or directory.resolve().name}-{secrets.token_hex(2)}"
        local = self.config.space_id is None and not any(os.environ.get(variable) for variable in REMOTE)
        with ExitStack() as stack:
            stack.enter_context(strict())
            if local:
                # Without this, trackio requests the name of a user who is logged in to Hugging Face.
                stack.enter_context(hub_offline())
            self.run = trackio.init(
                project=self.config.project or run.recipe.name,
                name=name,
                space_id=self.config.space_id,
                private=True,
                config=run.recipe.to_dict(),
                resume="allow",
                embed=False,  # in a notebook, do not start Trackio's page
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.uploaded.set_run_id(name)
        self.catch_up(directory)

    def write(self, row: Row) -> None:
        if "warning" in row:
            self._send_warnings()
        else:
            self._send(kind_of(row), row["iteration"], scalars(row))

    @hookimpl
    def on_grid(self, run: Run, picture: Image) -> None:
        if self.config.grids:
            self.attempt(run, lambda: self._send_grid(run.iteration, picture))

    def _send_grid(self, iteration: int, picture: Image) -> None:
        import trackio

        self._send("grid", iteration, {"samples": trackio.Image(picture)})

    def _send(self, kind: str, iteration: int, values: dict[str, Any]) -> None:
        if self.uploaded.lacks(kind, iteration):
            with strict():
                self.run.log(values, step=iteration)
            self.uploaded.record(kind, iteration)

    def _send_warnings(self) -> None:
        """Send each warning of log.jsonl that trackio lacks. An iteration may have several warnings."""
        earlier: Counter[int] = Counter()
        for row in read_rows(self.directory):
            if "warning" not in row:
                continue
            iteration = row["iteration"]
            kind = f"warning {earlier[iteration]}"
            earlier[iteration] += 1
            if self.uploaded.lacks(kind, iteration):
                with strict():
                    self.run.alert("warning", row["warning"], step=iteration)
                self.uploaded.record(kind, iteration)

    def close(self, run: Run) -> None:
        import trackio
        from trackio import context_vars

        with strict():
            self.run.finish()
            if context_vars.current_run.get() is self.run:
                # `run.finish` leaves the run registered, and trackio would finish it again when the process ends.
                trackio.finish()
