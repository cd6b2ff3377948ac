"""A plugin with a metric and warnings that can end its process. It is in a file for runs in other processes."""

import os
import signal
import socket
import time

from pydantic import Field

from gankit import Plugin, Settings, hookimpl

if guard := os.environ.get("GANKIT_TEST_NO_NETWORK"):
    _connect = socket.socket.connect

    def _connect_locally(self, address):
        if self.family != socket.AF_UNIX:
            with open(guard, "a") as file:
                file.write(f"{address}\n")
            raise OSError(f"{address}: no network in this test")
        return _connect(self, address)

    socket.socket.connect = _connect_locally


class Warner(Plugin):
    """Warns."""

    name = "warner"

    class Config(Settings):
        kill: int = Field(0, description="iteration at which the process is killed, once")
        interrupt: int = Field(0, description="iteration at which Ctrl-C is pressed")

    @hookimpl
    def after_iteration(self, run):
        if run.iteration in (2, 5):
            run.warn(f"warning of iteration {run.iteration}")
        if run.iteration == self.config.interrupt:
            signal.raise_signal(signal.SIGINT)
        if run.iteration == self.config.kill and not (run.directory / "killed").exists():
            (run.directory / "killed").touch()
            time.sleep(0.5)  # wandb may lose the rows of the last 0.1 s
            os.kill(os.getpid(), signal.SIGKILL)

    @hookimpl
    def compute_metrics(self, comparison):
        return {"brightness": comparison.fake.images.float().mean().item()}
