"""Command `gankit adagan`: train a mixture of generators. Each generator learns the data that the earlier ones miss."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from gankit import InputError, Plugin, Recipe, Session, find_recipe, hookimpl
from gankit_plugins.command.adagan_study import UNIFORM, Settings, Study, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE = 1000
"""Width of the table, in characters, if stdout is a file or a pipe. It is large enough to avoid wrapped lines."""


@click.command("adagan")
@click.argument("recipe")
@click.option("--steps", metavar="T", type=int, default=5, show_default=True, help="Number of generators.")
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the study. [default: runs/NAME/adagan]"
)
@click.option(
    "--beta",
    metavar="uniform|NUMBER",
    default=UNIFORM,
    show_default=True,
    help="Share of each new generator in the mixture; uniform: 1/t in step t, so that all shares are equal.",
)
@click.option(
    "--discriminator-steps",
    metavar="N",
    type=int,
    default=1000,
    show_default=True,
    help="Training steps of the discriminator between the data and the mixture.",
)
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
def command(
    recipe: str, steps: int, out: Path | None, beta: str, discriminator_steps: int, overrides: tuple[str, ...]
) -> None:
    """Train a mixture of generators of RECIPE with AdaGAN. Each generator learns the data that the earlier ones miss.

    Step 1 is an ordinary run of RECIPE. Before each further step, a small discriminator learns to separate the data
    from the samples of the current mixture. Its output determines the weights of the data for the next generator. The
    folder of the study contains a run directory for each step, adagan.json with the generators' shares of the mixture
    and the metrics, and samples.png.

    After Ctrl-C, repeat the command to resume the study. With a larger --steps, the study gets more generators.

    \b
    gankit adagan gaussian_ring --steps 3
    gankit adagan gaussian_ring --steps 3 --beta 0.3 train.iterations=500 --out runs/boosted
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("gankit adagan trains one run after the other in one process; start it without torchrun")
    for option, value in (("--steps", steps), ("--discriminator-steps", discriminator_steps)):
        if value < 1:
            raise InputError(f"{option} {value}: too small; give 1 or more")
    loaded = Recipe.load(find_recipe(recipe), overrides)
    if loaded.train.class_balanced:
        raise InputError(
            f"{recipe}: train.class_balanced: the weights of AdaGAN decide how often each class is drawn; set it to "
            "false"
        )
    settings = Settings(loaded, parsed_beta(beta), discriminator_steps)
    folder = out or loaded.output.directory / loaded.name / "adagan"
    record = read_record(folder, settings, steps)
    # Remove the loggers, because they would record this session as a further run.
    loggers = [key for key, component in loaded.components.items() if component.kind == "logger"]
    with Session(loaded.changed(drop=loggers)) as session:
        study = Study(folder, settings, session, record, click.echo)
        try:
            study.train(steps)
        except KeyboardInterrupt:
            click.echo(f"\n{folder}: repeat the command to resume the study")
            raise
        picture = study.draw_picture()
    print_table(study.record["steps"], study.record["shares"])
    click.echo(f"  study    {folder}\n  samples  {picture}")


def parsed_beta(text: str) -> float | None:
    """Return the value of --beta as a number, or None for `uniform`.

    Raises:
        InputError: the value is neither `uniform` nor a number between 0 and 1.
    """
    if text == UNIFORM:
        return None
    try:
        beta = float(text)
    except ValueError:
        beta = 0.0
    if not 0 < beta < 1:
        raise InputError(f"--beta {text}: not a share; give {UNIFORM}, or a number between 0 and 1")
    return beta


def print_table(steps: Sequence[dict], shares: Sequence[float]) -> None:
    """Print a table with a row for each step of AdaGAN.

    A row contains the share of the step's generator in the final mixture and the metrics of this generator. It also
    contains the metrics of the mixture of all generators up to this step.
    """
    names = list(dict.fromkeys(name for step in steps for name in step["metrics"]))
    table = Table()
    for title in ("step", "share", *names, *(f"mixture: {name}" for name in names)):
        table.add_column(title, justify="right")
    for number, (step, share) in enumerate(zip(steps, shares, strict=True), 1):
        values = [step[part].get(name) for part in ("metrics", "mixture") for name in names]
        cells = ["" if value is None else f"{value:.4g}" for value in values]
        table.add_row(str(number), f"{share:.3f}", *cells)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    console.print(table)


class AdaGan(Plugin):
    """Command `gankit adagan` for a mixture of generators. Each generator learns the data that the earlier ones miss.

    Each step trains a new generator on training examples that are drawn with weights. An example has a large weight if
    the mixture of the earlier generators has few samples near the example. A small discriminator between the data and
    the mixture estimates these weights. The steps are ordinary runs. The command can be interrupted and resumed.

    The metrics of the recipe and of the data plugin are computed for each generator and for each mixture. From the
    second step, the metrics in a step's run directory compare the generator with the reweighted data of this step.

    Source: Tolstikhin 2017 (AdaGAN), algorithm 1 and section 3. The discriminator estimates the density ratio.

    When to use: if a single GAN misses modes, and several generators may be trained and kept.
    When not: if a single generator file is needed, because the mixture needs the files of all steps. If the samples are
    easy to distinguish from all data, all examples get the same weight, and the method has no effect. Balanced classes
    (`train.class_balanced`) are not allowed, because they would cancel the weights.
    """

    name = "adagan"
    kind = "command"

    @hookimpl
    def register_commands(self, cli: click.Group) -> None:
        cli.add_command(command)
