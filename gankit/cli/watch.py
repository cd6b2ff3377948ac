"""`gankit watch`: watch a run on a local page that updates itself, or in the terminal."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.errors import InputError

if TYPE_CHECKING:
    from gankit.report.page_server import PageServer
    from gankit.report.watched_run import WatchedRun

LOCAL = "127.0.0.1"
PORT = 8787
LEAST_WAIT = 1.0  # time between two updates of the terminal, in seconds
PIPE_WIDTH = 200  # width of the output in a pipe or a file, in characters


@click.command("watch")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--terminal/--page",
    default=None,
    help="Show text in this terminal, or serve a page. [default: --terminal in an ssh session, otherwise --page]",
)
@click.option("--grid", is_flag=True, help="In the terminal, show the newest image grid too.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    help=f"Port of the page. [default: {PORT}, or any free port if it is in use]",
)
@click.option(
    "--host",
    metavar="H",
    default=LOCAL,
    show_default=True,
    help="Address on which the page is served. With 0.0.0.0, all machines of the network can see the run.",
)
def command(run: Path, terminal: bool | None, grid: bool, port: int | None, host: str) -> None:
    """Watch RUN while it trains: progress, curves, image grids, metrics and warnings. Ctrl-C ends.

    By default, the command serves the page of `gankit report` on this machine only. The page updates itself when the
    run has new results. RUN is only read, and may also be a run that has ended.
    """
    from gankit.report.watched_run import WatchedRun

    watched = WatchedRun(run)
    if terminal is None:
        terminal = "SSH_CONNECTION" in os.environ and sys.stdout.isatty()
    if terminal:
        watch_in_terminal(watched, grid)
    else:
        serve_page(watched, host, port)


def serve_page(watched: WatchedRun, host: str, port: int | None) -> None:
    """Serve the page of a run until Ctrl-C, and print its address."""
    with open_server(watched, host, port) as server, suppress(KeyboardInterrupt):
        used = server.server_address[1]
        if host not in (LOCAL, "localhost"):
            click.echo(
                f"note: everyone who can reach port {used} of this machine can see the run, without a password and "
                "without encryption",
                err=True,
            )
        shown = server.server_name if host == "0.0.0.0" else host
        click.echo(f"{watched.directory.path}: http://{shown}:{used}/ shows the run; Ctrl-C ends")
        sys.stdout.flush()
        server.serve_forever()


def open_server(watched: WatchedRun, host: str, port: int | None) -> PageServer:
    """Return a server for the page of a run. If `port` is None, use the default port, or a free one if it is in use.

    Raises:
        InputError: the port is in use, or the host is not an address of this machine.
    """
    from gankit.report.page_server import PageServer

    if port is None:
        with suppress(OSError):
            return PageServer(host, PORT, watched)
    try:
        return PageServer(host, port or 0, watched)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"--host {host} --port {port or 0}: {reason}; choose another port, or an address of this machine"
        ) from error


def watch_in_terminal(watched: WatchedRun, grid: bool) -> None:
    """Show a run in the terminal until Ctrl-C. If stdout is not a terminal, print the current state of the run once."""
    from rich.console import Console
    from rich.live import Live

    from gankit.cli.live_bars import live_console
    from gankit.cli.watch_display import watch_display

    console = live_console(quiet=False)
    if console is None:
        # Without a terminal, rich assumes 80 columns, which would cut off the command to resume the run.
        plain = Console(highlight=False, width=PIPE_WIDTH)
        plain.print(watch_display(watched.record, watched.refresh(), plain, grid))
        return
    with Live(console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            began = time.monotonic()
            progress = watched.refresh()
            live.update(watch_display(watched.record, progress, console, grid), refresh=True)
            # Reading a long log takes time. Use at most a tenth of a processor, which the training may need.
            time.sleep(max(LEAST_WAIT, 10 * (time.monotonic() - began)))
