"""Arguments and options that several subcommands share, and a check of output paths."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gankit.errors import InputError

if TYPE_CHECKING:
    from gankit.data.user_images import SourceImages
    from gankit.sampling.sampler import Sampler

Command = TypeVar("Command", bound=Callable[..., Any])


class AboveZero(click.FloatRange):
    """Click parameter type for numbers above 0. Unlike `click.FloatRange`, this type rejects NaN."""

    def __init__(self, max: float | None = None) -> None:
        super().__init__(min=0, max=max, min_open=True)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, parameter, context)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", parameter, context)
        return number


MOST_DEVIATIONS = 1e6
"""Maximum move along a direction, in standard deviations. Much larger numbers are infinite in float32."""


class Move(click.ParamType):
    """Click parameter type for moves along directions: N=S, a direction's number and standard deviations."""

    name = "move"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, float]:
        if isinstance(value, tuple):
            return value
        number, _, amount = value.partition("=")
        try:
            move = int(number), float(amount)
        except ValueError:
            move = 0, math.nan
        if not abs(move[1]) <= MOST_DEVIATIONS:  # also True for NaN
            self.fail(
                f"{value!r}: give a direction and its standard deviations, such as 3=2.5; at most {MOST_DEVIATIONS:g}.",
                parameter,
                context,
            )
        return move


class Sweep(click.ParamType):
    """Click parameter type for NAME=VALUES: a part of the condition, and the text of its values."""

    name = "sweep"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, _, values = value.partition("=")
        several = "," in values and all(values.split(","))
        if not name or not (several or RANGE.fullmatch(values)):
            self.fail(f"{value!r}: give a range or several values, such as age=20..60 or hair=black,grey.", parameter)
        return name, values


RANGE = re.compile(r"([-+.\de]+?)\.\.([-+.\de]+)")
"""Regular expression for a range of numbers, such as `20..60`."""


def sweep_values(text: str, steps: int) -> tuple[str, ...]:
    """Return the values of a sweep: the parts of `black,grey`, or `steps` evenly spaced numbers for `20..60`.

    Raises:
        InputError: an end of the range is not a number.
    """
    ends = RANGE.fullmatch(text)
    if ends is None:
        return tuple(text.split(","))
    try:
        first, last = (float(end) for end in ends.groups())
    except ValueError:
        raise InputError(f"--sweep {text}: give two numbers, such as 20..60") from None
    return tuple(f"{first + (last - first) * step / (steps - 1):g}" for step in range(steps))


drop_option = click.option(
    "--drop", metavar="KEY", multiple=True, help="Remove a table or a setting of the recipe. May be repeated."
)

overrides_argument = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
"""Command-line argument that overrides settings of the recipe with TOML values, such as `train.iterations=100`."""

quiet_option = click.option("--quiet", is_flag=True, help="Print a line for each row of log.jsonl; no live display.")

ray_option = click.option(
    "--ray", "address", metavar="ADDRESS", help="Train on a Ray cluster: HOST:PORT, auto, or local."
)

device_option = click.option("--device", metavar="D", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")


CONDITION_OPTIONS = (
    click.option("--class", "label", metavar="C", help="Draw only this class, given by name or number."),
    click.option(
        "--set", "numbers", metavar="NAME=VALUE", multiple=True, help="Set a number of the condition, such as age=30."
    ),
    click.option("--text", metavar="TEXT", help="Draw images for this text."),
    click.option(
        "--input",
        "sources",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="Source images: an image, a folder, a zip or prepared file.",
    ),
)


def condition_options(command: Command) -> Command:
    """Add the options that specify the condition of the samples to a click command.

    The command function must have the parameters `label`, `numbers`, `text` and `sources`.
    """
    for option in reversed(CONDITION_OPTIONS):
        command = option(command)
    return command


def requested_by(label: str | None, numbers: tuple[str, ...], text: str | None) -> dict[str, str]:
    """Return the requested condition values by name: `class`, `text`, and the names in `numbers`.

    Raises:
        InputError: an element of `numbers` is not of the form NAME=VALUE, or a name is given twice.
    """
    requested = {}
    for number in numbers:
        name, equals, value = number.partition("=")
        if not equals or not name or not value:
            raise InputError(f"--set {number}: give a name and a value, for example --set age=30")
        if name in requested:
            raise InputError(f"--set {number}: {name} is set twice; keep one")
        requested[name] = value
    return requested | {name: one for name, one in (("class", label), ("text", text)) if one is not None}


def load_with_content(file: Path, trust: bool, overrides: tuple[str, ...] = ()) -> tuple[Sampler, bytes]:
    """Load a generator on the CPU. Return its sampler, and the content of the generator file.

    A run in progress replaces its generator file. If this happens during the call, the file is loaded again.
    """
    from gankit.sampling.generator_file import generator_file, read_generator_file
    from gankit.sampling.sampler import Sampler

    path = generator_file(file)
    while True:
        sampler = Sampler.load(path, "cpu", trust, overrides=overrides)
        content = path.read_bytes()
        if read_generator_file(path)[0]["iteration"] == sampler.card["iteration"]:
            return sampler, content


def sources_of(sampler: Sampler, path: Path) -> SourceImages:
    """Return the source images at a path, which are inputs of the image-to-image generator in `sampler`.

    If images are resized, show a message.

    Raises:
        InputError: the images cannot be read, or the generator takes no source images.
    """
    from gankit.data.user_images import resized_images, source_images
    from gankit.plugin.condition import ImageCondition

    if not isinstance(sampler.condition, ImageCondition):
        raise InputError(f"--input {path}: the generator takes no source images; leave it out")
    sources = source_images(path, sampler.condition.shape)
    if (message := resized_images(path, sampler.condition.shape)) is not None:
        click.echo(message, err=True)
    return sources


def check_output_file(option: str, out: Path, *suffixes: str) -> None:
    """Raise InputError if the name of an output file has none of the suffixes, or if a folder has this name."""
    if out.suffix.lower() not in suffixes:
        raise InputError(f"{option} {out}: unknown file type; the name of the file must end in {' or '.join(suffixes)}")
    if out.is_dir():
        raise InputError(f"{option} {out}: a folder of that name exists; choose another name")
