"""Command-line interface of gankit.

The module of a subcommand is imported only when the subcommand is called, so that `gankit --help` is fast.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from gankit.errors import GankitError, InputError, PluginError
from gankit.plugin.registry import Entry, Registry
from gankit.runtime.memory_limit import is_out_of_memory
from gankit.runtime.signals import raise_on_signals
from gankit.runtime.standard_streams import lost_output, protect_standard_streams
from gankit.runtime.torchrun_env import place_of_process, rank_of_process
from gankit.suggest import nearest, new_name
from gankit.version import __version__

COMMANDS = {
    "run": "Train from a recipe.",
    "resume": "Resume an interrupted run, or extend a complete one.",
    "watch": "Watch a run in the browser or in the terminal.",
    "ablate": "Measure the effect and the cost of each trick of a recipe.",
    "search": "Search for good values of a recipe's settings, with Optuna.",
    "sample": "Draw images from a trained generator.",
    "augment-dataset": "Write generated images of each class, to enlarge a dataset.",
    "directions": "Find directions in the latent space, and draw them.",
    "project": "Find real images in the latent space of a generator.",
    "explain": "Show what D looks at, and which units of G draw what.",
    "reconstruct": "Encode images to z, and generate them again from z.",
    "video": "Write a video of images whose z moves, as MP4 or GIF.",
    "demo": "Show a generator in the browser, with sliders.",
    "merge": "Average generators, or join them in one file.",
    "compress": "Make a generator smaller and faster.",
    "benchmark": "Measure the speed of a generator on this machine.",
    "export": "Convert a generator to ONNX, TorchScript or torch.export.",
    "push": "Upload a generator to the Hugging Face Hub.",
    "show": "Show the newest images of a run in the terminal.",
    "animate": "Write the image grids of a run as an animated GIF.",
    "eval": "Compute metrics of a generator against real images.",
    "audit": "Test whether a generator reveals its training data.",
    "report": "Write a run as one HTML page.",
    "compare": "Compare runs, in a table and on a page.",
    "validate": "Check a recipe without training.",
    "recipes": "List, show or copy the bundled recipes.",
    "list-plugins": "List the installed plugins.",
    "describe": "Show the documentation, source and settings of a plugin.",
    "new-plugin": "Write a template for your own plugin.",
    "schema": "Write the JSON Schema of recipes, for editors.",
    "prepare": "Convert images to one file that loads fast.",
}
"""Help texts of the built-in subcommands. Each subcommand is the function `command` in the module of the same name."""

FOR_RANKS = ("run", "resume", "ablate", "search")
"""Subcommands that check the number of ranks themselves. The other built-in subcommands run only with a single rank."""

TRAINING = ("run", "resume", "ablate", "search")
"""Subcommands that write their results to files. They succeed even if writing to stdout fails."""

FAILED, INTERRUPTED = 1, 130  # exit codes of a failed command and of an interrupted command


class CommandLine(click.Group):
    """Command group with the subcommands of gankit and of plugins. Only the called subcommand is imported."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS, *sorted({entry.name for entry in _plugin_commands()} - COMMANDS.keys())]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            return import_module(f"gankit.cli.{name.replace('-', '_')}").command
        entries = [entry for entry in _plugin_commands() if entry.name == name]
        return _plugin_command(entries) if entries else None

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = arguments[0]
        # For built-in subcommands, skip the list of installed plugins, because reading this list is slow.
        known = command in COMMANDS or command.startswith("-")
        if not known and command not in (commands := self.list_commands(context)):
            near = nearest(command, commands)
            context.fail(f"there is no command {command!r}; {near}there are {', '.join(commands)}")
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        if others := [e for e in _plugin_commands() if e.name not in COMMANDS]:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(e.name, f"from {e.distribution} {e.version}") for e in others])


def print_error(error: GankitError) -> None:
    """Write an error to stderr, one line for each problem. With several ranks, only rank `error.rank` writes it."""
    if error.rank != rank_of_process():
        return
    prefix = f"rank {error.rank}: " if error.rank else ""
    for line in str(error).splitlines():
        click.echo(f"error: {prefix}{line}", err=True)


def _show_usage_error(error: click.ClickException) -> None:
    """Write a usage error to stderr, as one line. If the user gave no arguments, write the help text instead.

    If the user gave an option that was renamed, the message contains the new name.
    """
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context is not None else "gankit"
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption) and context is not None:
        options = [option for parameter in context.command.params for option in parameter.opts]
        if (new := new_name(error.option_name, options)) is not None:
            message = f"No such option {error.option_name!r}; it is called {new!r} now"
    click.echo(f"error: {command}: {message}; see `{command} --help`", err=True)


def _plugin_commands() -> list[Entry]:
    return [entry for entry in Registry.installed().entries if entry.kind == "command"]


def _plugin_command(entries: list[Entry]) -> click.Command:
    """Import the plugin that provides a subcommand and return the click command that the plugin registers."""
    from gankit.plugin.hooks import Hooks
    from gankit.plugin.registry import ResolvedPlugin
    from gankit.plugin.resolve import as_plugin_class

    entry = entries[0]
    if len(entries) > 1:
        both = " and ".join(e.distribution for e in entries)
        raise PluginError(f"{both} both have the command {entry.name!r}; uninstall all but one")
    resolved = ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value)
    plugin_class = as_plugin_class(resolved, ("command",))
    group = click.Group()
    try:
        plugin = plugin_class(plugin_class.Config())
        Hooks({entry.label: plugin}).event("register_commands")(group)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            f"the command {entry.name!r} of {entry.distribution} {entry.version} cannot be set up: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if entry.name not in group.commands:
        raise PluginError(
            f"the plugin {entry.label!r} of {entry.distribution} {entry.version} does not register the command "
            f"{entry.name!r}; it registers {', '.join(group.commands) or 'none'}"
        )
    return group.commands[entry.name]


@click.group(
    cls=CommandLine, subcommand_metavar="COMMAND [ARGS]...", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="gankit", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train generative adversarial networks built from plugins.

    \b
    gankit recipes          list the bundled recipes
    gankit run igan_vn      train from the recipe igan_vn
    gankit COMMAND --help   show the help of a command, such as run
    """
    command = context.invoked_subcommand
    # Reject torchrun only for gankit's own subcommands. A plugin's subcommand may run on several ranks.
    if command in COMMANDS and command not in FOR_RANKS and place_of_process().size > 1:
        raise InputError(
            f"gankit {command} runs in one process, but RANK and WORLD_SIZE are set for several; start it without "
            "torchrun"
        )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run gankit with the given arguments, then exit. Expected errors are printed without a traceback.

    If stdout or stderr is closed, or is a file on a full disk, a run continues without output. SIGTERM, SIGHUP and
    SIGUSR1 end the program in the same way as Ctrl-C.

    Exit codes: 0 success, 1 failure, 2 wrong input, 130 interrupted.
    """
    stdout = protect_standard_streams()
    with raise_on_signals():
        code = run_command_line(arguments)
    sys.stdout.flush()
    command = next((word for word in (sys.argv[1:] if arguments is None else arguments) if word in COMMANDS), None)
    # A training command writes its results to files. Any other command may write its only result to stdout.
    if code == 0 and command not in TRAINING and (sentence := lost_output(stdout)) is not None:
        click.echo(f"error: {sentence}", err=True)
        code = FAILED
    sys.exit(code)


def run_command_line(arguments: Sequence[str] | None) -> int:
    """Run gankit with the given arguments. Print expected errors without a traceback, and return the exit code."""
    try:
        return cli.main(arguments, prog_name="gankit", standalone_mode=False) or 0
    except GankitError as error:
        print_error(error)
        return error.exit_code
    except click.ClickException as error:
        if rank_of_process() == 0:
            _show_usage_error(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        if rank_of_process() == 0:
            click.echo("interrupted", err=True)
        return INTERRUPTED
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        click.echo(
            "error: the memory is full; reduce train.batch_size, or set train.accumulate to split the batch, "
            'or train.precision = "bf16"',
            err=True,
        )
        return FAILED
