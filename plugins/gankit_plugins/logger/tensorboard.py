"""Logger that writes TensorBoard files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image
from pydantic import Field
from torch import Tensor

from gankit import Settings, hookimpl
from gankit_plugins.logger.logger import Logger, Row, flatten, scalars

if TYPE_CHECKING:
    from gankit import Run


def pixels(image: Image) -> Tensor:
    """Return an image as a tensor (H, W, 3) uint8 of RGB values."""
    rgb = image.convert("RGB")
    return torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8).view(rgb.height, rgb.width, 3)


class TensorBoard(Logger):
    """Logger for TensorBoard: numbers, image grids, warnings, and the recipe as text and as hyperparameters.

    `tensorboard --logdir runs` shows all runs side by side. When a run is resumed, TensorBoard discards the values that
    the earlier process wrote after the checkpoint (`purge_step`). Therefore, each value appears only once. To install
    the library, run `pip install 'gankit[tensorboard]'`.

    Source: TensorBoard's event files, written by `torch.utils.tensorboard`.

    When to use: to view curves and images of one or several runs in a browser, without a service.
    When not: if the terminal and the images in samples/ are enough.
    """

    name = "tensorboard"
    kind = "logger"
    library = ("tensorboard",)

    class Config(Settings):
        folder: str = Field("tensorboard", description="folder of the event files, relative to the run directory")
        grids: bool = Field(True, description="whether to write the grids of samples")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        first = run.iteration == 0
        self.writer = SummaryWriter(directory / self.config.folder, purge_step=0 if first else run.iteration + 1)
        if first:
            settings = flatten(run.recipe.to_dict(), ".")
            hyperparameters = {key: v if isinstance(v, int | float | str) else str(v) for key, v in settings.items()}
            self.writer.add_text("recipe", f"```toml\n{run.recipe.to_toml()}\n```", 0)
            self.writer.add_hparams(hyperparameters, {}, run_name=".", global_step=0)
        self.writer.flush()

    def write(self, row: Row) -> None:
        for name, value in scalars(row).items():
            self.writer.add_scalar(name, value, row["iteration"])
        if "warning" in row:
            self.writer.add_text("warning", row["warning"], row["iteration"])
        # Flush after every row, because a killed process loses rows that were not flushed.
        self.writer.flush()

    @hookimpl
    def on_grid(self, run: Run, picture: Image) -> None:
        if self.config.grids:
            self.attempt(run, lambda: self._add_image(run.iteration, picture))

    def _add_image(self, iteration: int, picture: Image) -> None:
        self.writer.add_image("samples", pixels(picture), iteration, dataformats="HWC")
        self.writer.flush()

    def close(self, run: Run) -> None:
        self.writer.close()
