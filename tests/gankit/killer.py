"""A process that plays runs in children of its own and kills them at a chosen moment.

It reads commands from stdin, one JSON object a line, and answers each with one: the child's exit code (negative: the
signal that killed it), what it told, and how many operations on the disk it did. Torch is imported once, here.

    {"do": "warm up", "recipe": PATH, "out": DIR}       plays here, for all that torch imports when first used
    {"do": "start", "recipe": PATH, "out": DIR}         plays a recipe
    {"do": "resume", "out": DIR, "overrides": [...]}    goes on with it
    "kill": N                                           SIGKILL before operation N on the disk
    "tear": true                                        ... and what was being written is half there
    "prefetch": true                                    images are gathered ahead by a thread
    "full": N                                           from operation N on, the disk is full
    "limit": BYTES                                      no file may become larger
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable
from typing import Any

import gankit.data.batches
from gankit import GankitError, Recipe
from gankit.storage.run_dir import RunDir
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter


class Disk:
    """Counts what is done to the disk, and does something terrible at a chosen moment."""

    def __init__(self, kill: int | None, tear: bool, full: int | None) -> None:
        self.count, self.kill, self.tear, self.full = 0, kill, tear, full
        for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
            setattr(os, name, self.watched(getattr(os, name), name))
        RunDir.log = self.watched(RunDir.log, "log")

    def watched(self, real: Callable, name: str) -> Callable:
        def call(*arguments: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self.kill:
                if self.tear and name == "fsync" and stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                if self.tear and name == "log":
                    with open(arguments[0].log_file, "a") as file:
                        file.write(json.dumps(arguments[1])[:20])
                os.kill(os.getpid(), signal.SIGKILL)
            if self.full is not None and self.count >= self.full and name in ("fsync", "mkdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **more)

        return call


def play(command: dict[str, Any]) -> tuple[int, list[str]]:
    told: list[str] = []
    if command.get("prefetch"):
        gankit.data.batches.is_mapped = lambda images: True
    try:
        if command["do"] in ("start", "warm up"):
            start(Recipe.load(command["recipe"]), command["out"], Reporter(), told.append)
        else:
            resume(command["out"], command.get("overrides", []), Reporter(), told.append)
    except GankitError as error:
        return error.exit_code, [*told, str(error)]
    except BaseException:
        return 70, [*told, traceback.format_exc()]
    return 0, told


def child(command: dict[str, Any], answer: int) -> None:
    disk = Disk(command.get("kill"), command.get("tear", False), command.get("full"))
    if "limit" in command:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["limit"], resource.RLIM_INFINITY))
    code, told = play(command)
    os.write(answer, json.dumps({"code": code, "told": told, "operations": disk.count}).encode())
    os._exit(0)


def main() -> None:
    shutil._use_fd_functions = False  # so that what is removed goes through os.unlink and os.rmdir by path
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "warm up":
            print(json.dumps(play(command)), flush=True)
            continue
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            os.close(reading)
            child(command, writing)
        os.close(writing)
        with open(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(process, 0)
        answer = json.loads(said) if said else {"code": os.waitstatus_to_exitcode(status), "told": [], "operations": 0}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
