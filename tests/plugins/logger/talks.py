"""A plugin with measures and advice, that ends its own process; in a file, so that any process can play it."""

import os
import signal
import socket
import time

from pydantic import Field

from gankit import Plugin, Settings, hookimpl

if guard := os.environ.get("GANKIT_TEST_NO_NETWORK"):
    _connect = socket.socket.connect

    def _only_on_this_machine(self, address):
        if self.family != socket.AF_UNIX:
            with open(guard, "a") as file:
                file.write(f"{address}\n")
            raise OSError(f"{address} is not to be asked")
        return _connect(self, address)

    socket.socket.connect = _only_on_this_machine


class Talks(Plugin):
    """Talks."""

    name = "talks"

    class Config(Settings):
        kill: int = Field(0, description="the iteration at which the process is killed, once")
        interrupt: int = Field(0, description="the iteration at which Ctrl-C is pressed")

    @hookimpl
    def after_iteration(self, run):
        if run.iteration in (2, 5):
            run.warn(f"advice of iteration {run.iteration}")
        if run.iteration == self.config.interrupt:
            signal.raise_signal(signal.SIGINT)
        if run.iteration == self.config.kill and not (run.directory / "killed").exists():
            (run.directory / "killed").touch()
            time.sleep(0.5)  # within a tenth of a second wandb would lose a row
            os.kill(os.getpid(), signal.SIGKILL)

    @hookimpl
    def evaluate(self, generator):
        return {"size": float(sum(p.abs().sum() for p in generator.parameters()))}
