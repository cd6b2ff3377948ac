"""`gankit search`: search for good values of a recipe's settings, by a metric."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.cli.arguments import drop_option, overrides_argument, ray_option

if TYPE_CHECKING:
    from gankit.ablation.scheduler import Executor
    from gankit.ablation.search import Search, SearchSettings
    from gankit.plugin.base import Direction
    from gankit.recipe.recipe import Recipe
    from gankit.training.run import TrainingRun

DEFAULT_TRIALS = 20


@click.command("search")
@click.argument("recipe", metavar="RECIPE|SEARCH")
@click.option(
    "--vary",
    metavar="KEY=LOW..HIGH|KEY=A,B,C",
    multiple=True,
    help="Setting and its values: a range of numbers, or a list. May be repeated.",
)
@click.option(
    "--trials",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"Number of trials, with those of earlier calls. [default: {DEFAULT_TRIALS}]",
)
@click.option("--metric", metavar="NAME", help="Metric of the recipe. [default: output.keep_best of the recipe]")
@click.option("--seed", metavar="N", type=click.IntRange(0, 2**63 - 1), help="Seed of the chosen values. [default: 0]")
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the search. [default: runs/NAME/search]"
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Trials at a time. [default: one for each GPU, or 2 cores; with --ray, as many as the cluster has room for]",
)
@ray_option
@drop_option
@click.option("--quiet", is_flag=True, help="Print a line when a trial starts or ends; no live display.")
@overrides_argument
def command(
    recipe: str,
    vary: tuple[str, ...],
    trials: int | None,
    metric: str | None,
    seed: int | None,
    out: Path | None,
    jobs: int | None,
    address: str | None,
    drop: tuple[str, ...],
    quiet: bool,
    overrides: tuple[str, ...],
) -> None:
    """Train RECIPE with different values of some settings, and find the values with the best metric.

    Trial 0 has the values of RECIPE, if they are in the ranges and lists. Optuna chooses the values of each other trial
    from the results of the trials before. A trial whose metric is worse than the median of the others at the same
    iteration is stopped early. A range is logarithmic if HIGH is at least 10 times LOW; KEY=log:LOW..HIGH and
    KEY=linear:LOW..HIGH override this rule. At the end, there is a table of the trials, a picture, and best.toml, the
    recipe with the best values.

    After Ctrl-C, every trial writes a checkpoint and ends. To resume the search, repeat the command, or use
    `gankit search SEARCH`, where SEARCH is the folder of the search. Requires Optuna: pip install 'gankit[search]'.

    \b
    gankit search gaussian_ring --vary optimizer.generator.lr=1e-4..1e-2 --metric modes
    gankit search igan_vn --vary loss=hinge,wasserstein --metric frechet_distance metrics.frechet_distance={}
    gankit search runs/gaussian_ring/search --trials 40      continue with more trials
    """
    from dataclasses import replace

    from gankit.ablation.search import Search, SearchSettings, require_optuna
    from gankit.cli.study_executor import refuse_ranks, study_executor
    from gankit.errors import InputError
    from gankit.formatting import plural

    refuse_ranks("search")
    require_optuna()
    folder = Path(recipe)
    notes: list[str] = []
    if Search.exists(folder):
        if vary or metric or seed is not None or drop or overrides or out is not None:
            raise InputError(
                f"{folder}: a resumed search keeps its recipe and settings; the only options with its folder are "
                "--trials, --jobs, --ray and --quiet"
            )
        settings = _with_plugins(SearchSettings.read(folder))
    else:
        settings, notes = _new_settings(recipe, vary, metric, seed or 0, drop, overrides)
        folder = out or settings.base.output.directory / settings.base.name / "search"
    before = SearchSettings.read(folder) if Search.exists(folder) else None
    # Floating-point sums depend on the number of threads, so a resumed search keeps its number of threads.
    executor = study_executor(settings.base, jobs, address, before.threads if before is not None else None)
    trials = trials or (before.trials if before is not None else DEFAULT_TRIALS)
    settings = replace(settings, trials=trials, threads=executor.threads)
    search = Search.begin(folder, settings, jobs or executor.jobs)
    for note in notes:
        click.echo(note)
    for variation in settings.space:
        click.echo(f"{variation.key}: {variation.describe()}")
    click.echo(f"{plural(trials, 'trial')} by {settings.metric} ({settings.better} is better), into {folder}")
    _train(search, executor, quiet)


def _new_settings(
    recipe_name: str,
    vary: tuple[str, ...],
    metric: str | None,
    seed: int,
    drop: tuple[str, ...],
    overrides: tuple[str, ...],
) -> tuple[SearchSettings, list[str]]:
    """Return the settings of a new search, and notes for the user.

    Raises:
        InputError: the recipe, a value of --vary or the metric cannot be used.
    """
    from gankit.ablation.search import SearchSettings
    from gankit.ablation.search_space import checked_recipes, parse_variations
    from gankit.ablation.variants import variant_errors
    from gankit.cli.study_executor import assemble_on_cpu
    from gankit.recipe.bundled import find_recipe
    from gankit.recipe.recipe import Recipe

    base = Recipe.load(find_recipe(recipe_name), overrides, drop)
    space = parse_variations(base, vary)
    run = assemble_on_cpu(base)
    name, better = _metric(base, run, metric)
    warnings = [f"warning: {text}" for text in run.warnings]
    for option, changed in checked_recipes(base, space):
        with variant_errors(option):
            warnings += [f"warning: {text}" for text in assemble_on_cpu(changed).warnings]
    notes = list(dict.fromkeys(warnings))
    if base.evaluation.every >= base.train.iterations:
        notes.append(
            f"no trial can be stopped early: evaluation.every = {base.evaluation.every}, and train.iterations = "
            f"{base.train.iterations}, so the metric is computed only at the end"
        )
    return _with_plugins(SearchSettings(base, space, name, better, seed, 0, 0, [])), notes


def _with_plugins(settings: SearchSettings) -> SearchSettings:
    """Return the settings with a record of the plugins that are installed now."""
    from dataclasses import replace

    from gankit.ablation.search_space import checked_recipes
    from gankit.storage.provenance import plugin_record

    recipes = [settings.base, *(recipe for _, recipe in checked_recipes(settings.base, settings.space))]
    return replace(settings, plugins=[plugin_record(recipe.components) for recipe in recipes])


def _metric(recipe: Recipe, run: TrainingRun, metric: str | None) -> tuple[str, Direction]:
    """Return the name of the metric, and "lower" or "higher", depending on which values are better.

    Raises:
        InputError: no metric is given, or the recipe has no such metric with a known direction.
    """
    from gankit.errors import InputError
    from gankit.evaluation.metrics import directions
    from gankit.suggest import nearest

    known = directions({i.key: i.plugin for i in run.hooks.of("compute_metrics")})
    name = metric or recipe.output.keep_best
    names = f"the recipe has {', '.join(known)}" if known else "the recipe has none; add metrics.frechet_distance={}"
    if name is None:
        raise InputError(f"--metric: missing; give the metric by which trials are compared; {names}")
    if name not in known:
        hint = nearest(name, known)
        raise InputError(
            f"--metric {name}: needs a metric of the recipe that declares if lower or higher is better; {hint}{names}"
        )
    return name, known[name]


def _train(search: Search, executor: Executor, quiet: bool) -> None:
    """Train the trials of a search and show its results. Exit with code 130 if the search was interrupted.

    Raises:
        GankitError: no trial is complete.
    """
    from gankit.ablation.scheduler import run_plan
    from gankit.ablation.search import storage_errors
    from gankit.cli import INTERRUPTED
    from gankit.cli.next_steps import print_next, quoted
    from gankit.cli.study_progress import study_progress
    from gankit.errors import GankitError

    resume = f"gankit search {quoted(search.path)}"
    try:
        with storage_errors(search.path), study_progress(search, quiet) as progress:
            ending = run_plan(search, executor, progress)
        best_file = _show_results(search)
    except KeyboardInterrupt:
        click.echo("\nstopped at once; each trial resumes from its last checkpoint")
        print_next(resume)
        raise SystemExit(INTERRUPTED) from None
    finally:
        search.release()
    if ending.interrupted:
        click.echo("interrupted; the trials resume from their checkpoints")
        print_next(resume)
        raise SystemExit(INTERRUPTED)
    if best_file is None:
        reason = f"{ending.failures[0].run.name}: {ending.failures[0].error}" if ending.failures else "see the table"
        early = "the search was stopped, because all trials failed with the same error; " if ending.aborted else ""
        raise GankitError(f"no trial is complete; {early}{reason}")
    print_next(f"gankit run {quoted(best_file)}", f"{resume} --trials {2 * search.settings.trials}")


def _show_results(search: Search) -> Path | None:
    """Print the table of a search. Write the table, the picture and the best recipe to the search's folder.

    Return the path of the best recipe, or None if no trial is complete.
    """
    from rich.console import Console

    from gankit.ablation.search_results import best_recipe, best_result, results_record, trial_results
    from gankit.cli.search_table import markdown, picture, terminal_table
    from gankit.images.io import save_png
    from gankit.storage.atomic_io import write_json, write_text

    results = trial_results(search)
    paths = [search.path / name for name in ("table.md", "table.json", "search.png", "best.toml")]
    write_text(paths[0], markdown(search, results))
    write_json(paths[1], results_record(search, results))
    save_png(picture(search, results), paths[2])
    console = Console(highlight=False)
    if not console.is_terminal:
        # If stdout is a file or a pipe, a large width prevents line wrapping.
        console = Console(highlight=False, width=1000)
    console.print(terminal_table(search, results))
    best = best_result(results)
    if best is not None:
        write_text(paths[3], best_recipe(search, results, best))
        click.echo(f"best: {best.describe()} (trial {best.number})")
    click.echo(f"  table    {paths[0]}\n  picture  {paths[2]}")
    if best is None:
        return None
    click.echo(f"  recipe   {paths[3]}")
    return paths[3]
