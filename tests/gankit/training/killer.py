"""Program that trains runs in child processes and kills them at a chosen operation on the disk.

It reads commands from stdin, one JSON object in each line. The result of each command is a JSON object: exit code of
the child (negative: the signal that killed it), messages, and number of operations on the disk. Torch is imported once.

    {"do": "warm up", "recipe": PATH, "out": DIR}       train here, so that torch imports all that it needs
    {"do": "start", "recipe": PATH, "out": DIR}         train a recipe
    {"do": "resume", "out": DIR, "overrides": [...]}    resume a run
    "kill": N                                           SIGKILL before operation N on the disk
    "tear": true                                        ... and the file that is being written is truncated
    "prefetch": true                                    prefetch the images
    "full": N                                           from operation N on, the disk is full
    "limit": BYTES                                      largest size of a file
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
    """Counter of operations on the disk, which fails or kills the process at a chosen one."""

    def __init__(self, kill: int | None, tear: bool, full: int | None) -> None:
        self.count, self.kill, self.tear, self.full = 0, kill, tear, full
        for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
            setattr(os, name, self.counted(getattr(os, name), name))
        RunDir.log = self.counted(RunDir.log, "log")

    def counted(self, real: Callable, name: str) -> Callable:
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


class Messages(Reporter):
    """Reporter that collects warnings and facts."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def warned(self, sentence: str) -> None:
        self.messages.append(sentence)

    def informed(self, sentence: str) -> None:
        self.messages.append(sentence)


def run_command(command: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code and the messages of a command."""
    reporter = Messages()
    if command.get("prefetch"):
        gankit.data.batches.is_mapped = lambda images: True
    try:
        if command["do"] in ("start", "warm up"):
            start(Recipe.load(command["recipe"]), command["out"], reporter)
        else:
            resume(command["out"], command.get("overrides", []), reporter)
    except GankitError as error:
        return error.exit_code, [*reporter.messages, str(error)]
    except BaseException:
        return 70, [*reporter.messages, traceback.format_exc()]
    return 0, reporter.messages


def child(command: dict[str, Any], pipe: int) -> None:
    disk = Disk(command.get("kill"), command.get("tear", False), command.get("full"))
    if "limit" in command:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["limit"], resource.RLIM_INFINITY))
    code, messages = run_command(command)
    os.write(pipe, json.dumps({"code": code, "messages": messages, "operations": disk.count}).encode())
    os._exit(0)


def main() -> None:
    shutil._use_fd_functions = False  # so that rmtree removes by path, with os.unlink and os.rmdir
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "warm up":
            print(json.dumps(run_command(command)), flush=True)
            continue
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            os.close(reading)
            child(command, writing)
        os.close(writing)
        with open(reading, "rb") as pipe:
            output = pipe.read()
        _, status = os.waitpid(process, 0)
        killed = {"code": os.waitstatus_to_exitcode(status), "messages": [], "operations": 0}
        print(json.dumps(json.loads(output) if output else killed), flush=True)


if __name__ == "__main__":
    main()
