"""`gankit explain`: show the pixels that D's logit depends on, and the parts of the images that units of G draw."""

from pathlib import Path

import click

from gankit.cli.arguments import device_option
from gankit.cli.status_line import StatusLine


@click.command("explain")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write. Default: RUN/explanation, which the report of RUN shows.",
)
@click.option(
    "--count",
    metavar="N",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Real and generated images for D.",
)
@click.option("--layer", metavar="NAME", help="Module of G. Default: the last block with half of the images' height.")
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that the recipe of RUN names.")
def command(run: Path, out: Path | None, count: int, layer: str | None, device: str | None, trust: bool) -> None:
    """Show the pixels that D's logit depends on, and the parts of the images that units of G draw.

    For D, the command draws integrated gradients and occlusion over real and generated images. For G, it compares the
    feature maps of a layer with the parts of generated images, and sets the units of each part to zero as a check. The
    parts are known for data such as `captioned_shapes`. For other data, the command draws the most active units.

    It writes PNG files and explanation.json. Without --out, the report of RUN then has a section about them.

    \b
    gankit explain RUN
    gankit explain RUN --layer body.1 --count 12 --out explained
    """
    with StatusLine() as status:
        status.show("importing torch")
        from gankit.explanation.explain import explain
        from gankit.report.explanation import summary
        from gankit.report.page import write_report_of
        from gankit.storage.run_dir import RunDir

        status.show("explaining D and G")  # until the progress bar of the ablations overwrites it
        result = explain(run, count, layer, device or "auto", trust)
    directory = RunDir.open(run)
    folder = directory.explanation if out is None else out
    result.save(folder)
    for line in summary(result.record()):
        click.echo(line)
    click.echo(f"pictures and explanation.json: {folder}")
    if out is None:
        write_report_of(directory, lambda message: click.echo(message, err=True))
