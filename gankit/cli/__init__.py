"""The command line: one file for each verb, imported when it is called, so that the help answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from gankit.errors import GankitError, InputError, PluginError
from gankit.plugin.registry import Entry, Registry
from gankit.runtime.torchrun_env import place_of_process, rank_of_process
from gankit.suggest import nearest
from gankit.version import __version__

VERBS = {
    "run": "Train from a recipe.",
    "resume": "Go on with a run that was cut short.",
    "ablate": "Find out what each trick of a recipe does, and what it costs.",
    "sample": "Draw images from a trained generator.",
    "show": "Draw a run's newest pictures in the terminal.",
    "eval": "Measure a generator against real images.",
    "animate": "Write a run's pictures as an animated GIF.",
    "report": "Write a run as one HTML page.",
    "compare": "Put runs side by side, in a table and on a page.",
    "validate": "Check a recipe without training.",
    "recipes": "List, show or copy the recipes that come with gankit.",
    "list-plugins": "List what is installed.",
    "describe": "Explain a plugin: what it does, its source, its settings.",
    "new-plugin": "Write the beginning of a plugin of your own.",
    "schema": "Write the JSON Schema of recipes, for editors.",
    "prepare": "Turn images into one file that training reads at once.",
}
"""The verbs and what the help says of them. Each is `command` in the module of its name."""

FOR_RANKS = ("run", "resume", "ablate")
"""Verbs that know what to do, or to say, as one of several ranks."""

FAILED = 1
INTERRUPTED = 130


class CommandLine(click.Group):
    """Knows its verbs by name, and those of plugins by their entry points; imports the one that is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*VERBS, *sorted({entry.name for entry in _plugin_verbs()} - VERBS.keys())]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in VERBS:
            return import_module(f"gankit.cli.{name.replace('-', '_')}").command
        offers = [entry for entry in _plugin_verbs() if entry.name == name]
        return _plugin_verb(offers) if offers else None

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = arguments[0]
        # Those of plugins are looked for only when it is none of gankit's own.
        known = verb in VERBS or verb.startswith("-")
        if not known and verb not in (verbs := self.list_commands(context)):
            context.fail(f"there is no verb {verb!r}; {nearest(verb, verbs)}there are {', '.join(verbs)}")
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))
        if others := [e for e in _plugin_verbs() if e.name not in VERBS]:
            with formatter.section("Verbs of plugins"):
                formatter.write_dl([(e.name, f"from {e.distribution} {e.version}") for e in others])


def complain(error: GankitError) -> None:
    """Writes an error to stderr, a line for each thing that is wrong. Of several ranks, one does so."""
    if error.rank != rank_of_process():
        return
    who = f"rank {error.rank}: " if error.rank else ""
    for line in str(error).splitlines():
        click.echo(f"error: {who}{line}", err=True)


def _write_no_more() -> None:
    """Keeps the interpreter, which flushes stdout once more at its end, from complaining about a closed pipe."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plugin_verbs() -> list[Entry]:
    return [entry for entry in Registry.installed().entries if entry.kind == "command"]


def _plugin_verb(offers: list[Entry]) -> click.Command:
    """The verb of a plugin, which is imported for it.

    Raises PluginError when it cannot be had.
    """
    from gankit.plugin.hooks import Hooks
    from gankit.plugin.registry import ResolvedPlugin
    from gankit.plugin.resolve import as_plugin_class

    entry = offers[0]
    if len(offers) > 1:
        both = " and ".join(e.distribution for e in offers)
        raise PluginError(f"{both} both offer the verb {entry.name!r}; uninstall all but one")
    found = ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value)
    plugin_class = as_plugin_class(found, ("command",))
    verbs = click.Group()
    try:
        plugin = plugin_class(plugin_class.Config())
        Hooks({entry.label: plugin}).event("register_commands")(verbs)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            f"the verb {entry.name!r} of {entry.distribution} {entry.version} cannot be set up: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if entry.name not in verbs.commands:
        raise PluginError(
            f"the plugin {entry.label!r} of {entry.distribution} {entry.version} registers no verb {entry.name!r}, "
            f"but {', '.join(verbs.commands) or 'none at all'}"
        )
    return verbs.commands[entry.name]


@click.group(
    cls=CommandLine, subcommand_metavar="VERB [ARGS]...", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="gankit", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train generative adversarial networks out of parts.

    \b
    gankit recipes          what is ready to run
    gankit run igan_vn      train
    gankit VERB --help      more about a verb
    """
    verb = context.invoked_subcommand
    # What a plugin's verb does with ranks is its own business.
    if verb in VERBS and verb not in FOR_RANKS and place_of_process().size > 1:
        raise InputError(
            f"gankit {verb} is the work of one process, and this is one of several (RANK and WORLD_SIZE are set); "
            "start it without torchrun"
        )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program `gankit`. Answers every expected error with a sentence; an unexpected one keeps its traceback.

    Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted.
    """
    try:
        code = cli.main(arguments, prog_name="gankit", standalone_mode=False)
        # That a pipe's reader has gone is to be noticed here, not when the interpreter shuts down.
        sys.stdout.flush()
    except GankitError as error:
        complain(error)
        code = error.exit_code
    except click.ClickException as error:
        if rank_of_process() == 0:
            error.show()
        code = error.exit_code
    except click.Abort:
        if rank_of_process() == 0:
            click.echo("interrupted", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        _write_no_more()
        code = FAILED
    except RuntimeError as error:
        # Told apart by its name: to import torch for it would cost every verb two seconds.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        click.echo(
            "error: the device is out of memory; a smaller train.batch_size helps, or the same in parts with "
            'train.accumulate, or train.precision = "bf16"',
            err=True,
        )
        code = FAILED
    sys.exit(code)
