"""`gankit merge`: average the weights of generators, or join generators in one file."""

from __future__ import annotations

from pathlib import Path

import click

from gankit.cli.arguments import device_option
from gankit.cli.status_line import StatusLine
from gankit.cli.text_table import print_table
from gankit.errors import InputError
from gankit.recipe.toml import Raw


@click.command("merge")
@click.argument("paths", metavar="A B...", nargs=-1, required=True)
@click.option("--out", metavar="X.safetensors", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--ensemble", is_flag=True, help="Keep all generators; each sample comes from one of them.")
@click.option("--weights", metavar="W,W...", help="Weights of the generators. [default: equal]")
@click.option("--choose", metavar="M", help="Choose the weights of an ensemble by the metric M.")
@click.option("--line", metavar="M", help="Show the metric M at five points of the line from A to B.")
@click.option("--against", metavar="DATA", help="Real images for the metric, as for gankit eval.")
@click.option("--extractor", metavar="E", help="Feature extractor of the metric, as for gankit eval.")
@click.option(
    "--count",
    metavar="N",
    default=2000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Number of real and of generated images for the metric.",
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that the files name.")
def command(
    paths: tuple[str, ...],
    out: Path,
    ensemble: bool,
    weights: str | None,
    choose: str | None,
    line: str | None,
    against: str | None,
    count: int,
    extractor: str | None,
    device: str | None,
    trust: bool,
) -> None:
    """Merge generators A, B, ... into one generator file. Each is a generator.safetensors file or a run directory.

    The new file has the average of the weights of networks of one architecture. This works for runs with a common
    start, such as two continuations of one run, and seldom for runs with different seeds. With --ensemble, the file
    contains all generators, also of different architectures, and z decides which of them generates a sample. It is an
    ordinary generator file for `gankit sample`, `eval` and the other commands.

    \b
    gankit merge RUN-1 RUN-2 --out average.safetensors --line frechet_distance
    gankit merge RUN-1 RUN-2 --out both.safetensors --ensemble --weights 0.7,0.3
    gankit merge RUN-1 RUN-2 RUN-3 --out best.safetensors --ensemble --choose frechet_distance
    """
    if line is not None and (len(paths) != 2 or ensemble):
        raise InputError("--line: shows the averages of two generators; give two, without --ensemble")
    if choose is not None and (weights is not None or not ensemble):
        raise InputError("--choose: chooses the weights of an ensemble; add --ensemble, without --weights")
    given = None if weights is None else parsed_weights(weights)
    with StatusLine() as status:
        status.show("importing torch")
        from gankit.evaluation.merging import Score, along_line, chosen_weights, is_higher_better
        from gankit.sampling.generator_file import check_output, generator_file
        from gankit.sampling.merging import checked_weights, merge

        check_output(out, [generator_file(Path(path)) for path in paths])
        if given is not None:
            checked_weights(given, len(paths))
        higher = choose is not None and is_higher_better(choose)
        changes: Raw = {"evaluation": {"count": count}}
        if extractor is not None:
            changes["extractor"] = {"use": extractor}
        score = Score(paths, choose or line or "", against, changes, device or "auto", trust)

        def scored(weights: tuple[float, ...]) -> float:
            status.show(f"{score.metric} of the weights {as_text(weights)}")
            return score.of(weights, ensemble)

        if choose is not None:
            given, value = chosen_weights(scored, len(paths), higher)
        points = [] if line is None else list(along_line(scored))
        shares = merge(paths, out, given, ensemble, trust)  # last, so that a failed metric leaves no file
    if points:
        print_table(("part of B", line or ""), [(f"{t:g}", f"{value:.4g}") for t, value in points])
    if choose is not None:
        click.echo(f"{choose}: {value:.4g}")
    click.echo(f"{'ensemble' if ensemble else 'average'} with the weights {as_text(shares)}")
    click.echo(f"written: {out}")


def parsed_weights(text: str) -> tuple[float, ...]:
    """Return the numbers of --weights. Raise InputError if the text contains anything else."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise InputError(f"--weights {text}: give numbers, such as 0.7,0.3") from None


def as_text(weights: tuple[float, ...]) -> str:
    """Return weights as text, such as `0.7, 0.3`."""
    return ", ".join(f"{weight:.3g}" for weight in weights)
