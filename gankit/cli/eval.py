"""`gankit eval`: compute metrics that compare generated images with real images."""

import json
import math
from pathlib import Path

import click

from gankit.cli.arguments import device_option, overrides_argument
from gankit.cli.status_line import StatusLine


@click.command("eval")
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@click.option(
    "--against", metavar="DATA", help="Real images: the name of a dataset, a folder, a zip file or a prepared file."
)
@click.option("--metric", "metrics", metavar="M", multiple=True, help="Compute only this metric. May be repeated.")
@click.option(
    "--extractor",
    metavar="E",
    help="Feature extractor: bundled, classifier, inception, pixels, torchscript, or your own plugin.",
)
@click.option("--count", metavar="N", type=click.IntRange(min=2), help="Number of real and of generated images.")
@click.option(
    "--seed", metavar="S", type=click.IntRange(min=0), help="Random seed of z and of the choice of real images."
)
@click.option("--json", "as_json", is_flag=True, help="Print only the row of evaluations.jsonl.")
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that a generator file names.")
@overrides_argument
def command(
    target: Path,
    against: str | None,
    metrics: tuple[str, ...],
    extractor: str | None,
    count: int | None,
    seed: int | None,
    as_json: bool,
    device: str | None,
    trust: bool,
    overrides: tuple[str, ...],
) -> None:
    """Compute metrics of TARGET against real images. TARGET is a run, a generator file or a folder of images.

    The real images are the training data, unless --against is given. KEY=VALUE overrides settings of the recipe's
    tables data, extractor, metrics and evaluation, for example extractor.path=FILE or data.resolution=64. The protocol
    (data, number of images, extractor and other facts that affect a metric) is also printed. Compare metrics only if
    their protocols are equal. If TARGET is a run, the metrics are added to its evaluations.jsonl and report.html.

    \b
    gankit eval RUN
    gankit eval RUN --metric frechet_distance --count 10000 --extractor inception extractor.download=true
    gankit eval samples/ --against photos/ data.resolution=64
    """
    from gankit.recipe.toml import Raw, merge, overrides_from_here

    given = {"count": count, "seed": seed}
    changes: Raw = {"evaluation": {key: value for key, value in given.items() if value is not None}}
    if extractor is not None:
        changes |= overrides_from_here([f"extractor.use={extractor}"])
    changes = merge(changes, overrides_from_here(overrides))
    with StatusLine(quiet=as_json) as status:
        status.show("importing torch")
        from gankit.evaluation.standalone import evaluate
        from gankit.report.page import write_report
        from gankit.storage.run_dir import RunDir

        row = evaluate(target, against, changes, device or "auto", trust, metrics, status.show)
    if (target / "recipe.toml").exists():
        directory = RunDir.open(target)
        directory.log_evaluation(row)
        write_report(directory)
    if as_json:
        # Write NaN and infinity as null, because JSON has no values for them.
        finite = {name: value if math.isfinite(value) else None for name, value in row["metrics"].items()}
        click.echo(json.dumps(row | {"metrics": finite}))
        return
    width = max(map(len, [*row["metrics"], *row["protocol"]]))
    for name, value in row["metrics"].items():
        click.echo(f"{name:{width}}  {value:.4g}")
    click.echo("protocol:")
    for name, fact in row["protocol"].items():
        click.echo(f"  {name:{width}}  {fact}")
    for name, facts in row["settings"].items():
        click.echo(f"  {name:{width}}  {', '.join(f'{key} {fact}' for key, fact in facts.items())}")
    if row["left_out"]:
        click.echo(row["left_out"])
    click.echo(f"time: {row['seconds']:.1f} s")
