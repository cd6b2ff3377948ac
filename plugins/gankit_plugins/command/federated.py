"""Command `gankit federated`: train clients with their own data, and average their networks after each round."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from rich.progress import MofNCompleteColumn

from gankit import InputError, Plugin, Recipe, Session, find_recipe, hookimpl, progress_bar
from gankit_plugins.command.federated_training import FederatedTraining, Settings, check_folder, server_recipe

if TYPE_CHECKING:
    from gankit_plugins.command.federated_averaging import Split
    from gankit_plugins.command.federated_training import Average


@click.command("federated")
@click.argument("recipe")
@click.option("--clients", metavar="K", type=int, help="Number of clients that share the recipe's data. [default: 4]")
@click.option(
    "--data",
    metavar="PATH",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Data of one client, in place of data.path. Repeat the option for each client.",
)
@click.option(
    "--split",
    type=click.Choice(["equal", "classes", "amounts"]),
    default="equal",
    show_default=True,
    help="Division of the recipe's data; classes: few classes for each client; amounts: in the ratio 1:2:...:K.",
)
@click.option(
    "--rounds",
    metavar="N",
    type=int,
    default=10,
    show_default=True,
    help="Number of rounds. In each, every client trains train.iterations / N iterations.",
)
@click.option(
    "--average",
    type=click.Choice(["both", "generator"]),
    default="both",
    show_default=True,
    help="Averaged networks; with generator, each client keeps its own discriminator.",
)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder. [default: runs/NAME/federated]")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
def command(
    recipe: str,
    clients: int | None,
    data: tuple[Path, ...],
    split: str,
    rounds: int,
    average: str,
    out: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train RECIPE on several clients with their own data. After each round, their networks are averaged (FedAvg).

    The clients are runs on this machine, one after the other. No client reads the data of another. The folder is a run
    directory with the averaged generator, and gankit report, compare, sample and eval read it. It also contains the run
    directory of each client. If a client fails, the round continues with the other clients, and the log contains a
    warning.

    After Ctrl-C, repeat the command to continue.

    \b
    gankit federated dcgan_mnist --clients 4 --split classes
    gankit federated own_images data.path=all.zip --data a.zip --data b.zip
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("gankit federated trains one client after the other in one process; start it without torchrun")
    if data and clients not in (None, len(data)):
        raise InputError(f"--clients {clients}: --data is given for {len(data)} clients; leave --clients out")
    if data and split != "equal":
        raise InputError(f"--split {split}: with --data, each client has its own data; leave --split out")
    loaded = Recipe.load(find_recipe(recipe), overrides)
    count = len(data) or (4 if clients is None else clients)
    settings = Settings(loaded, rounds, count, cast("Split", split), cast("Average", average), data)
    folder = out or loaded.output.directory / loaded.name / "federated"
    check_folder(folder, settings)
    with (
        Session(server_recipe(loaded)) as session,
        progress_bar("clients", rounds * count, MofNCompleteColumn()) as bar,
    ):
        training = FederatedTraining(folder, settings, session, click.echo, lambda: bar.advance(bar.task_ids[0]))
        try:
            training.train()
        except KeyboardInterrupt:
            click.echo(f"\n{folder}: repeat the command to continue")
            raise
    click.echo(f"  generator  {folder / 'generator.safetensors'}\n  report     gankit report {folder}")


class FederatedCommand(Plugin):
    """Command `gankit federated`: training of clients with their own data, whose networks are averaged.

    In each round, every client trains its run for some iterations. Then the networks of all clients are averaged,
    weighted by their numbers of images. The next round starts from the average. Each client keeps its optimisers,
    random states and plugin states in its own checkpoints. The command can be interrupted and continued.

    Source: McMahan 2017 (FedAvg), algorithm 1, with all clients in each round.

    When to use: to find out how well a GAN trains on data that must stay at several places.
    When not: if the data may be put together. Central training needs fewer images for the same quality.
    """

    name = "federated"
    kind = "command"

    @hookimpl
    def register_commands(self, cli: click.Group) -> None:
        cli.add_command(command)
