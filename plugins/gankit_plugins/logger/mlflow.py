"""A run in MLflow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image
from pydantic import Field

from gankit import Settings, hookimpl
from gankit_plugins.logger.logger import Logger, Row, advice_of, flat, scalars, stream_of
from gankit_plugins.logger.upload_state import Sent

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from gankit import Run

AT_ONCE = 100
"""Parameters that MLflow takes in one request."""

SQLITE = "sqlite:///"


def artifacts_beside(uri: str) -> str | None:
    """A folder for files beside an SQLite database, which MLflow would put into the current one; None for others."""
    return (Path(uri.removeprefix(SQLITE)).resolve().parent / "artifacts").as_uri() if uri.startswith(SQLITE) else None


class Mlflow(Logger):
    """Logs a run in MLflow: numbers, grids, advice and recipe, to an SQLite file in the run directory or to a server.

    Source: the library `mlflow`. `mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db` shows the file, with
    the whole `mlflow` installed; `uri` names a server or a store for all runs. The library's own reports of its use
    are off, unless MLFLOW_DISABLE_TELEMETRY says otherwise. A resumed run goes on as the same run of MLflow, and
    leaves out what was logged already: that cannot be taken back, and is the same anyway, as resume is exact. (On
    another machine the last digits may differ.) Needs `pip install 'gankit[mlflow]'`.

    When to use: where experiments are kept in MLflow.
    When not: to look at a run on this machine only: `tensorboard` is smaller.
    """

    name = "mlflow"
    kind = "logger"
    library = ("mlflow", "sqlalchemy", "alembic")

    class Config(Settings):
        uri: str | None = Field(
            None, description="of a server or a store, such as `http://localhost:5000`; a file in `folder`, if left out"
        )
        experiment: str | None = Field(None, description="the recipe's name, if left out")
        run: str | None = Field(None, description="the run's name; its directory's, if left out")
        folder: str = Field("mlflow", description="relative to the run directory; two loggers need two")
        grids: bool = Field(True, description="log the grids of samples as images")

    config: Config

    def open(self, run: Run, directory: Path) -> None:
        # It would report its use to its makers.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # It would tell of tables that it makes in the database.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        self.directory = directory
        folder = (directory / self.config.folder).resolve()
        self.sent = Sent(folder / "gankit.json")
        uri = self.config.uri or f"{SQLITE}{folder / 'mlflow.db'}"
        self.client = MlflowClient(uri)
        if self.sent.run is None:
            self.run = self.sent.named(self._begin(self.client, run, artifacts_beside(uri)))
        else:
            self.run = self.sent.run
            self.client.update_run(self.run, "RUNNING")
        self.catch_up(directory)

    def _begin(self, client: MlflowClient, run: Run, artifacts: str | None) -> str:
        """A new run with the recipe as its parameters; its id."""
        from mlflow.entities import Param

        name = self.config.experiment or run.recipe.name
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name, artifacts)
        begun: str = client.create_run(
            experiment, run_name=self.config.run or self.directory.resolve().name
        ).info.run_id
        params = [Param(key, str(value)) for key, value in flat(run.recipe.to_dict(), ".").items()]
        for start in range(0, len(params), AT_ONCE):
            client.log_batch(begun, params=params[start : start + AT_ONCE])
        client.log_text(begun, run.recipe.to_toml(), "recipe.toml")
        return begun

    def write(self, row: Row) -> None:
        from mlflow.entities import Metric

        stream, iteration, now = stream_of(row), row["iteration"], int(time.time() * 1000)
        if "warning" in row:
            self.client.log_text(self.run, advice_of(self.directory), "advice.txt")
        elif self.sent.lacks(stream, iteration):
            metrics = [Metric(name, value, now, iteration) for name, value in scalars(row).items()]
            self.client.log_batch(self.run, metrics=metrics)
            self.sent.note(stream, iteration)

    @hookimpl
    def on_grid(self, run: Run, picture: Image) -> None:
        if self.config.grids:
            self.attempt(run, lambda: self.client.log_image(self.run, picture, f"samples/{run.iteration:06d}.png"))

    def close(self, run: Run) -> None:
        over = run.iteration >= run.recipe.train.iterations or run.stop_reason is not None
        self.client.set_terminated(self.run, "FAILED" if run.failure else "FINISHED" if over else "KILLED")
