"""`gankit ablate`: what each trick of a recipe does, how sure that is, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gankit.cli.arguments import drop_option, overrides_argument

if TYPE_CHECKING:
    from gankit.ablation.scheduler import Executor
    from gankit.ablation.study import Study, StudyRun
    from gankit.ablation.variants import Variant
    from gankit.recipe.recipe import Recipe

SEEDS = 5


class Seeds(click.ParamType):
    """How many, from 0 on, or which, with commas between them."""

    name = "seeds"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        if "," not in value:
            return list(range(click.IntRange(min=1).convert(value, parameter, context)))
        seed = click.IntRange(0, 2**63 - 1)
        seeds = [seed.convert(part, parameter, context) for part in value.removesuffix(",").split(",")]
        if len(set(seeds)) < len(seeds):
            self.fail(f"{value} names a seed twice; each pair of runs is of a seed of its own", parameter, context)
        return seeds


@click.command("ablate")
@click.argument("recipe", metavar="RECIPE|STUDY")
@click.option("--add", metavar="TRICK", multiple=True, help="Compare RECIPE with it and this trick. May be repeated.")
@click.option("--only", metavar="TRICK", multiple=True, help="Leave out this trick, not each. May be repeated.")
@click.option("--seeds", metavar="N|N,N...", type=Seeds(), help=f"How many, or which. [default: {SEEDS}]")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="The study's folder; runs/NAME/ablation.")
@click.option("--jobs", metavar="N", type=click.IntRange(min=1), help="Runs at a time; one for a GPU, or for 2 cores.")
@click.option("--ray", "address", metavar="ADDRESS", help="Play on a Ray cluster: HOST:PORT, auto, or local.")
@drop_option
@click.option("--quiet", is_flag=True, help="No live display: a line whenever a run begins or ends.")
@overrides_argument
def command(
    recipe: str,
    add: tuple[str, ...],
    only: tuple[str, ...],
    seeds: list[int] | None,
    out: Path | None,
    jobs: int | None,
    address: str | None,
    drop: tuple[str, ...],
    quiet: bool,
    overrides: tuple[str, ...],
) -> None:
    """Find out what each trick of RECIPE does: play it, and again without each of its tricks, with several seeds.

    With --add it is RECIPE that is plain, and each named trick that is added to it, alone. It ends in a table: trick,
    effect on each measure, interval, cost. Ctrl-C lets every run write a checkpoint; the same command, or the study's
    folder in place of RECIPE, goes on.

    \b
    gankit ablate igan_vn                                       each of its tricks left out
    gankit ablate igan_vn --only r1 --seeds 3                   this one
    gankit ablate gaussian_ring --add packing --add r1.gamma=1  each added
    gankit ablate gaussian_ring --add "loss=wasserstein weight_clipping.c=0.1"
    """
    from gankit.ablation.study import Study
    from gankit.errors import InputError
    from gankit.runtime.torchrun_env import place_of_process

    if place_of_process().size > 1:
        raise InputError(
            "gankit ablate plays independent runs, which need no ranks; start it without torchrun, with --jobs or --ray"
        )
    if jobs is not None and address is not None:
        raise InputError(
            "--jobs: the cluster of --ray decides how many runs are played at a time; leave one of them out"
        )
    there = Path(recipe)
    if Study.exists(there):
        if add or only or drop or overrides or out is not None:
            raise InputError(
                f"{there}: a study goes on as it was asked for; beside its folder stand only --seeds, --jobs, --ray "
                "and --quiet"
            )
        study = Study.open(there)
        study = Study.begin(there, study.variants, seeds or study.seeds, study.threads)
        place = _place(study.base.recipe, jobs, address, study.threads)
    else:
        study, place = _asked(recipe, add, only, seeds, out, jobs, address, drop, overrides)
    _tell(study)
    _play(study, place, quiet)


def _asked(
    recipe: str,
    add: tuple[str, ...],
    only: tuple[str, ...],
    seeds: list[int] | None,
    out: Path | None,
    jobs: int | None,
    address: str | None,
    drop: tuple[str, ...],
    overrides: tuple[str, ...],
) -> tuple[Study, Executor]:
    """The study that is asked for, new or there already, and where it is played."""
    from gankit.ablation.study import Study
    from gankit.ablation.variants import add_each, drop_each, read_only_tricks
    from gankit.errors import InputError
    from gankit.recipe.bundled import find_recipe
    from gankit.recipe.recipe import Recipe

    if add and only:
        raise InputError("--only: it names tricks to leave out, and --add tricks to add; a study does one of them")
    if any(override.partition("=")[0].strip() == "seed" for override in overrides):
        raise InputError("seed: each variant is played with several; --seeds 0,1,2 names them")
    read = Recipe.load(find_recipe(recipe), overrides, drop)
    variants = add_each(read, add) if add else drop_each(read, only)
    advice = dict.fromkeys(sentence for variant in variants for sentence in _advice(variant))
    path = out or read.output.directory / read.name / "ablation"
    there = Study.open(path) if Study.exists(path) else None
    if seeds is None:
        seeds = there.seeds if there is not None else list(range(SEEDS))
    # Sums depend on the threads: a study goes on with as many as it began with.
    place = _place(read, jobs, address, there.threads if there is not None and there.has_begun() else None)
    study = Study.begin(path, variants, seeds, place.threads)
    for sentence in advice:
        click.echo(f"warning: {sentence}")
    if not add and not only and (watchers := read_only_tricks(read)):
        click.echo(f"not left out, since they only watch or measure: {', '.join(watchers)}")
    return study, place


def _advice(variant: Variant) -> list[str]:
    """What its plugins say of a recipe, assembled as far as can be without its data.

    Raises InputError, naming the variant, when it cannot be.
    """
    from dataclasses import replace

    from gankit.ablation.variants import variant_errors
    from gankit.training.assembly import assemble

    # On the CPU: the GPUs' memory belongs to the runs.
    on_cpu = replace(variant.recipe, train=variant.recipe.train.model_copy(update={"device": "cpu"}))
    with variant_errors(variant.name):
        return assemble(on_cpu).warnings


def _place(recipe: Recipe, jobs: int | None, address: str | None, threads: int | None) -> Any:
    """Where runs are played: on a cluster, or side by side here.

    Args:
        recipe: which says the device.
        jobs: at a time; None for what suits.
        address: of the cluster; None for here.
        threads: of each run; None for what suits.
    """
    import torch

    from gankit.ablation.local_executor import (
        LocalExecutor,
        available_cores,
        default_jobs,
        threads_per_run,
        visible_gpus,
    )
    from gankit.runtime.device import choose_device

    device = recipe.train.device
    if address is not None:
        from gankit.ablation.ray_executor import RayExecutor

        return RayExecutor(address, threads or threads_per_run(max(1, available_cores() // 2)), device != "cpu")
    choose_device(device)
    # A device with a number is meant; others are spread over all there are.
    gpus = visible_gpus(torch.cuda.device_count()) if device in ("auto", "cuda") else []
    jobs = jobs or (1 if ":" in device else default_jobs(len(gpus)))
    return LocalExecutor(jobs, threads or threads_per_run(jobs), gpus)


def _tell(study: Study) -> None:
    from gankit.formatting import plural

    names = ", ".join(variant.name for variant in study.variants)
    click.echo(f"{study.base.recipe.name}: {names}")
    click.echo(f"{plural(len(study.seeds), 'seed')}, {plural(len(study.runs), 'run')}, into {study.path}")


def _play(study: Study, place: Executor, quiet: bool) -> None:
    """Plays the runs and shows the table. Exits with 130 when it was interrupted.

    Raises GankitError with all that went wrong in runs, InputError if all of it is wrong input.
    """
    from gankit.ablation.scheduler import combined_error, run_study
    from gankit.cli import INTERRUPTED, complain
    from gankit.cli.run_command import quoted, tell_next
    from gankit.cli.study_progress import study_progress

    go_on = f"gankit ablate {quoted(study.path)}"
    try:
        with study_progress(study, quiet) as shown:
            end = run_study(study, place, shown)
    except KeyboardInterrupt:
        click.echo("\nstopped at once; each run goes on from its last checkpoint")
        tell_next(go_on)
        raise SystemExit(INTERRUPTED) from None
    finally:
        study.release()
    _show_table(study)
    if end.aborted:
        click.echo("given up: with a trick and without it runs failed alike, so the others would fail too")
    if end.interrupted:
        click.echo(f"interrupted; {_checkpoints(end.stopped)}")
        if end.failures:
            complain(combined_error(end.failures))
        tell_next(go_on)
        raise SystemExit(INTERRUPTED)
    if end.failures:
        raise combined_error(end.failures)
    if study.seeds == list(range(len(study.seeds))):
        tell_next(f"{go_on} --seeds {2 * len(study.seeds)}")


def _checkpoints(cut_short: list[StudyRun]) -> str:
    """Which runs have one, of those that had begun when they were asked to write one."""
    from gankit.storage.run_dir import RunDir

    begun = [run for run in cut_short if run.path.exists()]
    without = [run.name for run in begun if not RunDir(run.path).saved_checkpoints()]
    if not without:
        return "each run has written a checkpoint"
    return f"each run has a checkpoint, but for those that had hardly begun: {'; '.join(without)}"


def _show_table(study: Study) -> None:
    """Compares the runs, prints the table and leaves it in the study's folder."""
    from rich.console import Console
    from rich.text import Text

    from gankit.ablation.comparison import compare
    from gankit.cli.ablation_table import drawn, markdown, notes
    from gankit.storage.atomic_io import write_json, write_text

    found = compare(study)
    title = f"{study.base.recipe.name}: what each trick does"
    write_text(study.path / "table.md", markdown(found, title))
    write_json(study.path / "table.json", found.to_dict())
    console = Console(highlight=False)
    if not console.is_terminal:
        # A file or a pipe takes lines of any length.
        console = Console(highlight=False, width=1000)
    console.print(drawn(found))
    for note in notes(found):
        console.print(Text(note))
    click.echo(f"  table  {study.path / 'table.md'}")
