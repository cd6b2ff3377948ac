"""`gankit augment-dataset`: write generated samples of each class, to enlarge a small labelled dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gankit.cli.arguments import device_option, overrides_argument
from gankit.cli.sample import OTHER_SUFFIXES

if TYPE_CHECKING:
    from gankit.training.augment_dataset import Filter

OF_FILTER = {
    "keep": ("--keep", "discriminator"),
    "confidence": ("--confidence", "classifier"),
    "against": ("--against", "classifier"),
    "extractor": ("--extractor", "classifier"),
    "overrides": ("KEY=VALUE", "classifier"),
}
"""Options that are valid only with one filter, by parameter."""


@click.command("augment-dataset")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--out", metavar="FOLDER", required=True, type=click.Path(path_type=Path), help="New folder.")
@click.option(
    "--per-class",
    metavar="N",
    default=500,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of samples of each class.",
)
@click.option(
    "--filter",
    "filter_",
    type=click.Choice(["discriminator", "classifier"]),
    help="Keep only samples that the run's discriminator, or a classifier, prefers.",
)
@click.option(
    "--keep",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Proportion of samples that the filter discriminator keeps.",
)
@click.option(
    "--confidence",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Smallest probability of the requested class, for the filter classifier.",
)
@click.option(
    "--label", metavar="NAME", help="Attribute or column whose words are the classes. Default: the generator's classes."
)
@click.option(
    "--against", metavar="DATA", help="Real images of the classifier: a dataset, a folder, a zip or prepared file."
)
@click.option("--extractor", metavar="E", help="Extractor with the classifier. Default: classifier.")
@click.option(
    "--seed", metavar="S", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Random seed."
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
@overrides_argument
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    out: Path,
    per_class: int,
    filter_: Filter | None,
    keep: float,
    confidence: float,
    label: str | None,
    against: str | None,
    extractor: str | None,
    seed: int,
    device: str | None,
    trust: bool,
    overrides: tuple[str, ...],
) -> None:
    """Write generated samples of each class to a new folder, to enlarge a small labelled dataset.

    FILE is a run directory, a generator.safetensors file, or hf://USER/NAME. Its generator must be class-conditional,
    or --label must name an attribute or a column of a table with words. The folder has a subfolder for each class, as
    `data.use = "images"` reads it. Rows of a table are written to samples.csv. provenance.json contains the seed, the
    class and the score of each sample.

    --filter discriminator draws more samples, and keeps the share --keep with the largest outputs of the discriminator
    of the run FILE. --filter classifier keeps the samples that a classifier assigns to the requested class. The
    classifier is trained on the training data of the generator, or on the data of --against. KEY=VALUE changes the
    settings of its tables data and extractor.

    \b
    gankit augment-dataset RUN --out more
    gankit augment-dataset RUN --out more --per-class 100 --filter discriminator --keep 0.25
    gankit augment-dataset RUN --out more --filter classifier --confidence 0.9 extractor.steps=400
    gankit augment-dataset TABLE_RUN --out rows --label job
    """
    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.training.augment_dataset import augment_dataset

    for parameter, (option, needed) in OF_FILTER.items():
        given = context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE
        if given and context.params[parameter] and filter_ != needed:
            raise InputError(f"{option}: is for --filter {needed}; add it, or leave out {option}")
    if out.suffix.lower() in (".png", *OTHER_SUFFIXES):
        raise InputError(f"--out {out}: is the name of a file; choose the name of a new folder")
    chosen = () if extractor is None else (f"extractor.use={extractor}",)
    result = augment_dataset(
        file,
        out,
        per_class,
        filter_,
        keep,
        confidence,
        label,
        against,
        (*chosen, *overrides),
        seed,
        device or "auto",
        trust,
    )
    kept, drawn = sum(result.kept.values()), sum(result.drawn.values())
    source = f", from {drawn:,} generated" if drawn > kept else ""
    click.echo(f"{plural(kept, 'sample')} of {plural(len(result.kept), 'class', 'classes')}{source}: {out}")
