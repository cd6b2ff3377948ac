"""`gankit ablate`: measure the effect of each trick of a recipe on the metrics and on the training time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gankit.cli.arguments import drop_option, overrides_argument, ray_option

if TYPE_CHECKING:
    from gankit.ablation.scheduler import Executor
    from gankit.ablation.study import Study, StudyRun
    from gankit.ablation.variants import Variant

DEFAULT_SEEDS = 5


class Seeds(click.ParamType):
    """Option type of --seeds: a number of seeds, such as `5` for the seeds 0 to 4, or a list, such as `0,3,7`."""

    name = "seeds"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        if "," not in value:
            return list(range(click.IntRange(min=1).convert(value, parameter, context)))
        seed = click.IntRange(0, 2**63 - 1)
        seeds = [seed.convert(part, parameter, context) for part in value.removesuffix(",").split(",")]
        if len(set(seeds)) < len(seeds):
            self.fail(f"{value}: a seed is given twice; give each seed once", parameter, context)
        return seeds


@click.command("ablate")
@click.argument("recipe", metavar="RECIPE|STUDY")
@click.option(
    "--add", metavar="TRICK", multiple=True, help="Compare RECIPE with and without this trick. May be repeated."
)
@click.option("--only", metavar="TRICK", multiple=True, help="Leave out only this trick. May be repeated.")
@click.option(
    "--seeds", metavar="N|N,N...", type=Seeds(), help=f"Number of seeds, or a list. [default: {DEFAULT_SEEDS}]"
)
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the study. [default: runs/NAME/ablation]"
)
@click.option(
    "--jobs", metavar="N", type=click.IntRange(min=1), help="Runs at a time. [default: one for each GPU, or 2 cores]"
)
@ray_option
@drop_option
@click.option("--quiet", is_flag=True, help="Print a line when a run starts or ends; no live display.")
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
    """Train RECIPE with and without each of its tricks, with several seeds, and print the effect of each trick.

    With --add, each given trick, or group of settings in quotes, is added to RECIPE instead. The table shows the effect
    of each trick on each metric, with a confidence interval, and the cost of each trick. The cost is the training time
    per iteration with the trick divided by the time without it. After Ctrl-C, every run writes a checkpoint and ends.
    To resume the study, repeat the command, or use `gankit ablate STUDY`, where STUDY is the folder of the study.

    \b
    gankit ablate igan_vn                                       leave out each trick, one at a time
    gankit ablate igan_vn --only r1 --seeds 3                   leave out only the trick r1
    gankit ablate gaussian_ring --add packing --add r1.gamma=1  add two tricks, one at a time
    gankit ablate gaussian_ring --add "loss=wasserstein weight_clipping.c=0.1"    add two settings together
    """
    from gankit.ablation.study import Study
    from gankit.ablation.variants import add_each, drop_each, read_only_tricks
    from gankit.cli.study_executor import refuse_ranks, study_executor
    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.recipe.bundled import find_recipe
    from gankit.recipe.recipe import Recipe

    refuse_ranks("ablate")
    if jobs is not None and address is not None:
        raise InputError(
            "--jobs: the cluster of --ray decides how many runs are trained at a time; leave out one of the options"
        )
    folder = Path(recipe)
    existing: Study | None = None
    if Study.exists(folder):
        if add or only or drop or overrides or out is not None:
            raise InputError(
                f"{folder}: a resumed study keeps its recipes; the only options with its folder are --seeds, --jobs, "
                "--ray and --quiet"
            )
        existing = Study.open(folder)
        variants, notes = existing.variants, []
    else:
        if add and only:
            raise InputError("--only: it leaves out tricks, and --add adds tricks; give only one of the options")
        if any(override.partition("=")[0].strip() == "seed" for override in overrides):
            raise InputError("seed: each variant is trained with several seeds; use --seeds 0,1,2")
        base = Recipe.load(find_recipe(recipe), overrides, drop)
        variants = add_each(base, add) if add else drop_each(base, only)
        notes = list(dict.fromkeys(f"warning: {text}" for variant in variants for text in _warnings(variant)))
        if not add and not only and (read_only := read_only_tricks(base)):
            notes.append(f"not left out, because they do not change the training: {', '.join(read_only)}")
        folder = out or base.output.directory / base.name / "ablation"
        if Study.exists(folder):
            existing = Study.open(folder)
    # Floating-point sums depend on the number of threads, so a resumed study keeps its number of threads.
    threads = existing.threads if existing is not None and existing.has_begun() else None
    executor = study_executor(variants[0].recipe, jobs, address, threads)
    seeds = seeds or (existing.seeds if existing is not None else list(range(DEFAULT_SEEDS)))
    study = Study.begin(folder, variants, seeds, executor.threads)
    for note in notes:
        click.echo(note)
    click.echo(f"{study.base.recipe.name}: {', '.join(variant.name for variant in study.variants)}")
    click.echo(f"{plural(len(study.seeds), 'seed')}, {plural(len(study.runs), 'run')}, into {study.path}")
    _train(study, executor, quiet)


def _warnings(variant: Variant) -> list[str]:
    """Return the warnings about the recipe of a variant.

    If the recipe is not valid, the error message names the variant.
    """
    from gankit.ablation.variants import variant_errors
    from gankit.cli.study_executor import assemble_on_cpu

    with variant_errors(variant.name):
        return assemble_on_cpu(variant.recipe).warnings


def _train(study: Study, executor: Executor, quiet: bool) -> None:
    """Train the runs of a study and print its table. Exit with code 130 if the study was interrupted.

    Raises:
        GankitError: runs have failed; the message has one line for each failed run.
    """
    from gankit.ablation.scheduler import combined_error, run_study
    from gankit.cli import INTERRUPTED, print_error
    from gankit.cli.next_steps import print_next, quoted
    from gankit.cli.study_progress import study_progress

    resume = f"gankit ablate {quoted(study.path)}"
    try:
        with study_progress(study, quiet) as progress:
            ending = run_study(study, executor, progress)
    except KeyboardInterrupt:
        click.echo("\nstopped at once; each run resumes from its last checkpoint")
        print_next(resume)
        raise SystemExit(INTERRUPTED) from None
    finally:
        study.release()
    _show_table(study)
    if ending.aborted:
        click.echo("stopped: runs with and without a trick failed with the same error, so the others would fail too")
    if ending.interrupted:
        click.echo(f"interrupted; {_checkpoints(ending.stopped)}")
        if ending.failures:
            print_error(combined_error(ending.failures))
        print_next(resume)
        raise SystemExit(INTERRUPTED)
    if ending.failures:
        raise combined_error(ending.failures)
    if study.seeds == list(range(len(study.seeds))):
        print_next(f"{resume} --seeds {2 * len(study.seeds)}")


def _checkpoints(stopped: list[StudyRun]) -> str:
    """Return a message about the checkpoints of the stopped runs.

    The message also lists the started runs that have no checkpoint.
    """
    from gankit.storage.run_dir import RunDir

    started = [run for run in stopped if run.path.exists()]
    without = [run.name for run in started if not RunDir(run.path).saved_checkpoints()]
    if not without:
        return "each run has written a checkpoint"
    return f"each run has a checkpoint, except those that had just started: {'; '.join(without)}"


def _show_table(study: Study) -> None:
    """Compare the runs of a study, print the table, and write it to the study's folder."""
    from rich.console import Console
    from rich.text import Text

    from gankit.ablation.comparison import compare
    from gankit.cli.ablation_table import markdown, notes, terminal_table
    from gankit.storage.atomic_io import write_json, write_text

    comparison = compare(study)
    write_text(study.path / "table.md", markdown(comparison, f"{study.base.recipe.name}: effect of each trick"))
    write_json(study.path / "table.json", comparison.to_dict())
    console = Console(highlight=False)
    if not console.is_terminal:
        # If stdout is a file or a pipe, a large width prevents line wrapping.
        console = Console(highlight=False, width=1000)
    console.print(terminal_table(comparison))
    for note in notes(comparison):
        console.print(Text(note))
    click.echo(f"  table  {study.path / 'table.md'}")
