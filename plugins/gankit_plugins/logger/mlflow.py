"""Logger that sends a run to MLflow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image
from pydantic import Field

from gankit import Settings, hookimpl
from gankit_plugins.logger.logger import Logger, Row, all_warnings, flatten, kind_of, scalars
from gankit_plugins.logger.upload_state import UploadState

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from gankit import Run

MAX_PARAMETERS = 100
"""Maximum number of parameters in one request to MLflow."""

SQLITE = "sqlite:///"


class Mlflow(Logger):
    """Logger for MLflow: numbers, image grids, warnings and recipe of a run.

    By default, the logger writes an SQLite file in the run directory. If the full package `mlflow` is installed,
    `mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db` shows the file. Set `uri` to use a server, or one
    store for all runs. MLflow's telemetry is off; set the environment variable MLFLOW_DISABLE_TELEMETRY to change this.
    To install the library, run `pip install 'gankit[mlflow]'`.

    A resumed run continues the same run in MLflow. The resumed run repeats the iterations after its checkpoint. Rows
    that MLflow already has are not sent again, because the resumed run computes the same values. On another machine,
    the last digits of the values may differ.

    Source: the library `mlflow`.

    When to use: if you keep experiments in MLflow.
    When not: to view a run on this machine only; use `tensorboard`, which is a smaller package.
    """

    name = "mlflow"
    kind = "logger"
    library = ("mlflow", "sqlalchemy", "alembic")

    class Config(Settings):
        uri: str | None = Field(
            None,
            description="server or store, such as `http://localhost:5000`; default: a file in `folder`",
        )
        experiment: str | None = Field(None, description="name of the experiment; default: the recipe's name")
        run: str | None = Field(None, description="name of the run; default: the name of its directory")
        folder: str = Field("mlflow", description="folder, relative to the run directory; two loggers need two folders")
        grids: bool = Field(True, description="whether to log the grids of samples")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        # Without this variable, MLflow sends usage data to its developers.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Without this variable, MLflow prints messages when it creates its database tables.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        self.directory = directory
        folder = (directory / self.config.folder).resolve()
        self.uploaded = UploadState(folder / "gankit.json")
        uri = self.config.uri or f"{SQLITE}{folder / 'mlflow.db'}"
        self.client = MlflowClient(uri)
        if self.uploaded.run_id is None:
            # Store artifacts beside the SQLite file, because MLflow's default is the current folder.
            beside = Path(uri.removeprefix(SQLITE)).resolve().parent / "artifacts"
            artifacts = beside.as_uri() if uri.startswith(SQLITE) else None
            self.run_id = self.uploaded.set_run_id(self._create_run(self.client, run, artifacts))
        else:
            self.run_id = self.uploaded.run_id
            self.client.update_run(self.run_id, "RUNNING")
        self.catch_up(directory)

    def _create_run(self, client: MlflowClient, run: Run, artifacts: str | None) -> str:
        """Create an MLflow run with the recipe as its parameters; return the run's identifier."""
        from mlflow.entities import Param

        name = self.config.experiment or run.recipe.name
        existing = client.get_experiment_by_name(name)
        experiment = existing.experiment_id if existing else client.create_experiment(name, artifacts)
        run_name = self.config.run or self.directory.resolve().name
        run_id: str = client.create_run(experiment, run_name=run_name).info.run_id
        params = [Param(key, str(value)) for key, value in flatten(run.recipe.to_dict(), ".").items()]
        for start in range(0, len(params), MAX_PARAMETERS):
            client.log_batch(run_id, params=params[start : start + MAX_PARAMETERS])
        client.log_text(run_id, run.recipe.to_toml(), "recipe.toml")
        return run_id

    def write(self, row: Row) -> None:
        from mlflow.entities import Metric

        kind, iteration, now = kind_of(row), row["iteration"], int(time.time() * 1000)
        if "warning" in row:
            self.client.log_text(self.run_id, all_warnings(self.directory), "warnings.txt")
        elif self.uploaded.lacks(kind, iteration):
            metrics = [Metric(name, value, now, iteration) for name, value in scalars(row).items()]
            self.client.log_batch(self.run_id, metrics=metrics)
            self.uploaded.record(kind, iteration)

    @hookimpl
    def on_grid(self, run: Run, picture: Image) -> None:
        if self.config.grids:
            self.attempt(run, lambda: self.client.log_image(self.run_id, picture, f"samples/{run.iteration:06d}.png"))

    def close(self, run: Run) -> None:
        finished = run.iteration >= run.recipe.train.iterations or run.stop_reason is not None
        self.client.set_terminated(self.run_id, "FAILED" if run.failure else "FINISHED" if finished else "KILLED")
