"""gankit without the modules, functions and signals that Windows does not have.

Windows itself was not tried. The names are removed in a process of their own before gankit is imported.
"""

import json
import subprocess
import sys

from tests.gankit.conftest import write_toy_recipe

WITHOUT = """
import os, signal, sys
for name in ("fcntl", "resource", "termios", "tty", "pwd", "grp", "pty"):
    sys.modules[name] = None
for name in "SIGHUP SIGUSR1 SIGUSR2 SIGKILL SIGALRM SIGCHLD SIGSTOP pthread_sigmask setitimer".split():
    vars(signal).pop(name)
for name in "fork forkpty killpg getuid geteuid setsid getpgid sched_getaffinity posix_fadvise O_DIRECTORY".split():
    vars(os).pop(name, None)
open_file = os.open
def open_no_folder(path, flags, *more, **names):
    if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return open_file(path, flags, *more, **names)
os.open = open_no_folder
"""

IMPORT_ALL = """
import importlib, pkgutil
import gankit, gankit_plugins
for package in (gankit, gankit_plugins):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name not in ("gankit.__main__", "gankit_plugins.logger.wandb"):
            importlib.import_module(module.name)
"""

RUN = """
from gankit.cli import main
main(sys.argv[1:])
"""


def without_unix(code, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_every_module_is_imported(tmp_path):
    answer = without_unix(IMPORT_ALL, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr


def test_run_and_resume(tmp_path):
    write_toy_recipe(tmp_path / "toy.toml", train={"iterations": 4}, output={"checkpoint_every": 2})
    for command in (["run", "toy.toml", "--out", "r"], ["resume", "r", "train.iterations=6"]):
        answer = without_unix(RUN, *command, cwd=tmp_path)
        assert answer.returncode == 0, (command, answer.stdout, answer.stderr)
    rows = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["iteration"] == 6
