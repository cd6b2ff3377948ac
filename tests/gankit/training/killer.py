"""Program that trains a run in child processes and kills them at a chosen operation on the disk.

Usage: `killer.py RECIPE FOLDER`. A first run, in this process and into FOLDER, makes torch import all that it needs.
Then each line of stdin is a command, a JSON object, and its result is a line of stdout: the exit code of the child
(negative: the signal that killed it), its error, and its number of operations on the disk.

    {"do": "start", "out": DIR}     train the recipe
    {"do": "resume", "out": DIR}    resume a run
    "kill": N                       SIGKILL in operation N on the disk; of what it writes, only a part is written
    "full": N                       from operation N on, the disk is full
    "prefetch": true                prefetch the images
"""

import errno
import json
import os
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable
from typing import Any

import gankit.data.batches
from gankit import GankitError, Recipe
from gankit.plugin.registry import Registry
from gankit.storage.run_dir import RunDir
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter


class Disk:
    """Counter of operations on the disk, which fails or kills the process at a chosen one."""

    def __init__(self, kill: int | None, full: int | None) -> None:
        self.count, self.kill, self.full = 0, kill, full
        for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
            setattr(os, name, self.counted(getattr(os, name), name))
        RunDir.log = self.counted(RunDir.log, "log")

    def counted(self, real: Callable, name: str) -> Callable:
        def call(*arguments: Any, **more: Any) -> Any:
            if name == "fsync" and not stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                return None
            self.count += 1
            if self.count == self.kill:
                if name == "fsync":
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                if name == "log":
                    with open(arguments[0].log_file, "a") as file:
                        file.write(json.dumps(arguments[1])[:20])
                os.kill(os.getpid(), signal.SIGKILL)
            if self.full is not None and self.count >= self.full and name in ("fsync", "mkdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # What a killed process has written is in the page cache, so nothing has to reach the disk.
            return None if name == "fsync" else real(*arguments, **more)

        return call


def run_command(recipe: str, command: dict[str, Any]) -> dict[str, Any]:
    disk = Disk(command.get("kill"), command.get("full"))
    if command.get("prefetch"):
        gankit.data.batches.is_mapped = lambda images: True
    code, error = 0, ""
    try:
        if command["do"] == "start":
            start(Recipe.load(recipe), command["out"], Reporter())
        else:
            resume(command["out"], [], Reporter())
    except GankitError as failure:
        code, error = failure.exit_code, str(failure)
    except BaseException:
        code, error = 70, traceback.format_exc()
    return {"code": code, "error": error, "operations": disk.count}


def main(recipe: str, folder: str) -> None:
    shutil._use_fd_functions = False  # so that rmtree removes by path, with os.unlink and os.rmdir
    registry = Registry.installed()
    Registry.installed = lambda: registry  # because it reads the metadata of all packages again each time
    start(Recipe.load(recipe), folder, Reporter())
    for line in sys.stdin:
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            os.write(writing, json.dumps(run_command(recipe, json.loads(line))).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            output = pipe.read()
        _, status = os.waitpid(process, 0)
        print(output.decode() or json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
