"""A run in TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image
from pydantic import Field
from torch import Tensor

from gankit import Settings, hookimpl
from gankit_plugins.logger.logger import Logger, Row, flat, scalars

if TYPE_CHECKING:
    from gankit import Run


def pixels(picture: Image) -> Tensor:
    """(H, W, 3) uint8 of a picture."""
    rgb = picture.convert("RGB")
    return torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8).view(rgb.height, rgb.width, 3)


class TensorBoard(Logger):
    """Logs a run for TensorBoard: numbers, grids, advice, and the recipe as text and as hyperparameters.

    Source: TensorBoard's event files, as `torch.utils.tensorboard` writes them. `tensorboard --logdir runs` shows all
    runs side by side. A resumed run marks the step from which on TensorBoard is to forget what an earlier process
    wrote (`purge_step`), so nothing is shown twice. Needs `pip install 'gankit[tensorboard]'`.

    When to use: to watch curves and images of one or several runs in a browser, without a service.
    When not: where the terminal and samples/ say enough.
    """

    name = "tensorboard"
    kind = "logger"
    library = ("tensorboard",)

    class Config(Settings):
        folder: str = Field("tensorboard", description="of the event files, relative to the run directory")
        grids: bool = Field(True, description="write the grids of samples as images")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        fresh = run.iteration == 0
        self.writer = SummaryWriter(directory / self.config.folder, purge_step=0 if fresh else run.iteration + 1)
        if fresh:
            settings = flat(run.recipe.to_dict(), ".")
            plain = {key: v if isinstance(v, int | float | str) else str(v) for key, v in settings.items()}
            self.writer.add_text("recipe", f"```toml\n{run.recipe.to_toml()}\n```", 0)
            self.writer.add_hparams(plain, {}, run_name=".", global_step=0)
        self.writer.flush()

    def write(self, row: Row) -> None:
        for name, value in scalars(row).items():
            self.writer.add_scalar(name, value, row["iteration"])
        if "warning" in row:
            self.writer.add_text("warning", row["warning"], row["iteration"])
        # So that a kill leaves what log.jsonl has.
        self.writer.flush()

    @hookimpl
    def on_grid(self, run: Run, picture: Image) -> None:
        if self.config.grids:
            self.attempt(run, lambda: self._draw(run.iteration, picture))

    def _draw(self, iteration: int, picture: Image) -> None:
        self.writer.add_image("samples", pixels(picture), iteration, dataformats="HWC")
        self.writer.flush()

    def close(self, run: Run) -> None:
        self.writer.close()
