"""The program as a whole: help, speed, exit codes and the commands of plugins."""

import json
import os
import subprocess
import sys

import pytest

import gankit as package
from gankit.cli import COMMANDS

GREETER = '''
import click
from gankit import InputError, Plugin, hookimpl

class Greeter(Plugin):
    """Greets."""

    name, kind = "greet", "command"
    @hookimpl
    def register_commands(self, cli):
        @cli.command()
        @click.argument("whom")
        def greet(whom):
            """Greets a person."""
            if whom == "stranger":
                raise InputError("unknown [person]")
            click.echo(f"hello {whom}")

class Shy(Plugin):
    name, kind = "shy", "command"
    @hookimpl
    def register_commands(self, cli):
        cli.add_command(click.Command("bold"))

class Clumsy(Plugin):
    name, kind = "clumsy", "command"
    @hookimpl
    def register_commands(self, cli):
        raise KeyError("dropped it")
'''


FAST = [
    ["--help"],
    ["--version"],
    ["list-plugins"],
    ["recipes"],
    ["report", "run"],
    ["compare", "run", "--html", "x.html"],
]

IMPORTED = """
import json, sys
from gankit.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as exit:
        print([m for m in ("torch", "pydantic", "rich", "PIL") if m in sys.modules], exit.code or 0, file=sys.stderr)
"""


def test_fast_commands_import_no_torch(toy_run):
    toy_run("run", "train.iterations=2")
    before = os.times()
    command = [sys.executable, "-c", IMPORTED, json.dumps(FAST)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    after = os.times()
    *fast, report, compare = done.stderr.splitlines()
    assert fast == ["[] 0"] * 4
    assert "torch" not in report + compare
    assert (report[-1], compare[-1]) == ("0", "0")
    # 0.1 s for each command on an idle machine. CPU time, because it does not depend on other load.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2


def test_help_lists_every_command_and_version_prints_the_version(gankit):
    answer = gankit("--help")
    assert answer.code == 0
    assert all(command in answer.out and text in answer.out for command, text in COMMANDS.items())
    assert gankit("--version").out == f"gankit {package.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(gankit, command):
    answer = gankit(command, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: gankit {command}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        (["--nonsense"], "No such option"),
        (["run"], "Missing argument 'RECIPE'"),
        (["sample", "x"], "Missing option '--out'"),
        (["sample", "x", "--out", "y", "--count", "0"], "--count"),
        (["animate", "x"], "Missing option '--out'"),
        (["compare"], "Missing argument 'RUN...'"),
        (["list-plugins", "extra"], "extra"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(gankit, arguments, expected):
    answer = gankit(*arguments)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("error: gankit")
    assert expected in line
    assert answer.out == ""


def test_closed_stdout_prints_no_error(start_process):
    process = start_process("list-plugins")
    process.stdout.close()
    assert process.wait(timeout=30) in (0, 1)
    assert process.stderr.read() == ""


def test_a_plugin_adds_a_command_that_no_other_has(gankit, install):
    install("greeting-kit", {"command.greet": "greeter:Greeter"}, {"greeter": GREETER})
    assert "greet from greeting-kit 1.5" in " ".join(gankit("--help").out.split())
    assert gankit("greet", "you").out == "hello you\n"
    refused = gankit("greet", "stranger")
    assert (refused.code, refused.err) == (2, "error: unknown [person]\n")
    assert "did you mean 'greet'?" in gankit("gret").err
    install("greeting-kit-2", {"command.greet": "greeter:Greeter"}, {})
    answer = gankit("greet", "you")
    assert answer.code == 2
    assert "greeting-kit and greeting-kit-2 both have the command 'greet'" in answer.err


@pytest.mark.parametrize(
    ("command", "value", "expected"),
    [
        ("gone", "no_such_module:Gone", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("shy", "greeter:Shy", "does not register the command 'shy'; it registers bold"),
        ("clumsy", "greeter:Clumsy", "cannot be set up: KeyError: 'dropped it'"),
        ("plain", "greeter:click", "greeter:click is not a class"),
    ],
)
def test_a_broken_command_prints_one_line_and_does_not_affect_others(gankit, install, command, value, expected):
    install("broken-kit", {f"command.{command}": value}, {"greeter": GREETER})
    assert gankit("--help").code == 0
    answer = gankit(command)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("error: ")
    assert expected in answer.err


def test_a_plugin_cannot_replace_a_command_of_gankit(gankit, install):
    install("thief", {"command.run": "greeter:Greeter"}, {"greeter": GREETER})
    assert gankit("run", "--help").out.startswith("Usage: gankit run [OPTIONS] RECIPE")
