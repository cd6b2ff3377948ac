"""`gankit demo`: show a generator in the browser, with sliders for the seed, the class and other settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from gankit.cli.arguments import device_option

if TYPE_CHECKING:
    from gankit.sampling.directions import Directions
    from gankit.sampling.sampler import Sampler

HOST = "127.0.0.1"
"""Address of the page. Other computers cannot reach it."""


@click.command("demo")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--count", default=36, show_default=True, type=click.IntRange(min=1), help="Number of images at first.")
@click.option(
    "--directions",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="File of `gankit directions`. Default: the file beside the generator.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the page. Default: the first free one from 7860.")
@click.option("--no-browser", is_flag=True, help="Print the address of the page, but do not open a browser.")
@click.option("--share", is_flag=True, help="Make the page public: see below.")
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    overrides: tuple[str, ...],
    count: int,
    directions: Path | None,
    port: int | None,
    no_browser: bool,
    share: bool,
    device: str | None,
    trust: bool,
) -> None:
    """Show the generator in FILE, a generator.safetensors file or a run directory, on a web page.

    The page has controls for the seed, the number of images, the condition (such as a class or numbers), the
    truncation, and the first 10 directions of `gankit directions`. The images are those that `gankit sample` draws for
    the same options. Ctrl-C ends the command. The command needs the package gradio: pip install 'gankit[demo]'.

    The page is visible only on this computer, without a network connection. With --share, the page gets a public
    address for up to a week: gradio downloads the program frpc, and all requests and images pass through gradio's
    servers. Everyone who has the address can draw images on this computer.

    \b
    gankit demo RUN
    gankit demo RUN --port 8000 --no-browser generator.psi=0.7
    """
    from gankit.sampling.demo_page import demo_page

    load = loader(file, device or "auto", trust, overrides)
    with TemporaryDirectory(prefix="gankit-demo-") as folder:
        prepare_gradio(folder)
        page = demo_page(load, directions_of(load(()), file, directions), f"### `{file}`", count)
        address = serve(page, port, share, open_browser=not no_browser)
        click.echo(f"{file}: {address} (Ctrl-C ends the page)")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo()
        finally:
            page.close(verbose=False)


def loader(file: Path, device: str, trust: bool, overrides: tuple[str, ...]) -> Callable[[tuple[str, ...]], Sampler]:
    """Return a function with a cache that loads a generator with additional changed settings.

    The other arguments are those of `Sampler.load`.
    """
    from gankit.sampling.sampler import Sampler

    @lru_cache(maxsize=2)
    def load(changed: tuple[str, ...]) -> Sampler:
        sampler = Sampler.load(file, device, trust, overrides=(*overrides, *changed))
        if changed:
            # A run that is training replaces the file. The directions belong to the weights that were loaded first.
            sampler.generator.load_state_dict(load(()).generator.state_dict())
        return sampler

    return load


def prepare_gradio(folder: str) -> None:
    """Set the environment variables of gradio, and import it.

    Args:
        folder: folder in which gradio stores the images of the page.

    Raises:
        InputError: gradio is not installed.
    """
    from gankit.errors import InputError

    os.environ["GRADIO_TEMP_DIR"] = folder
    # Without this variable, gradio sends usage data to its developers, and looks for newer versions.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio checks that it reaches its own page. A proxy cannot reach this computer.
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), HOST]))
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise InputError(
            "gankit demo: gradio is not installed, which shows the page; run `pip install 'gankit[demo]'`"
        ) from None


def directions_of(sampler: Sampler, file: Path, directions: Path | None) -> Directions | None:
    """Return the directions of a generator, or None if there are none. Print a warning for those of other weights.

    Args:
        sampler: sampler with the generator.
        file: generator file or run directory of this generator.
        directions: file of directions, or None for the file beside the generator.

    Raises:
        InputError: the file `directions` is missing, damaged or made for another generator.
    """
    from gankit.errors import InputError
    from gankit.sampling.directions import directions_file, load_directions
    from gankit.sampling.generator_file import generator_file

    if directions is not None:
        return load_directions(directions, sampler.generator)
    path = directions_file(generator_file(file))
    if not path.exists():
        return None
    try:
        return load_directions(path, sampler.generator)
    except InputError as error:
        # The run was continued after `gankit directions`. The page is useful without these directions.
        click.echo(f"warning: {error}", err=True)
        return None


def serve(page: Any, port: int | None, share: bool, open_browser: bool) -> str:
    """Serve a page on this computer, in another thread. Return its address.

    Raises:
        InputError: another program uses the port.
    """
    from gankit.errors import InputError

    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            share=share,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
        )
    except OSError:
        wanted = "--port: no port from 7860 on is free" if port is None else f"--port {port}: is in use"
        raise InputError(f"{wanted}; choose another port") from None
    address: str = page.local_url
    return address
