"""`gankit compress`: write a smaller generator file, and compare it with the original one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gankit.cli.arguments import device_option, sources_of
from gankit.cli.status_line import StatusLine
from gankit.cli.text_table import milliseconds, print_table
from gankit.formatting import plural

if TYPE_CHECKING:
    from gankit.training.compression import Compression


@click.command("compress")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--out", metavar="X.safetensors", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option(
    "--prune", "share", metavar="SHARE", type=float, help="Share of the multiply-adds to remove, such as 0.5."
)
@click.option("--int8", is_flag=True, help="Store the weights in 8 bits.")
@click.option(
    "--iterations", metavar="N", default=2000, show_default=True, type=click.IntRange(min=0), help="Training steps."
)
@click.option("--seed", metavar="S", default=0, show_default=True, type=click.IntRange(min=0), help="Random seed.")
@click.option(
    "--input",
    "sources",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Source images of an image-to-image generator: an image, a folder, a zip or prepared file.",
)
@click.option(
    "--against",
    metavar="DATA",
    help="Real images for the Frechet distance: the name of a dataset, a folder, a zip file or a prepared file.",
)
@click.option(
    "--count",
    metavar="N",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Number of real and of generated images for the Frechet distance.",
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    overrides: tuple[str, ...],
    out: Path,
    share: float | None,
    int8: bool,
    iterations: int,
    seed: int,
    sources: Path | None,
    against: str | None,
    count: int,
    device: str | None,
    trust: bool,
) -> None:
    """Write a smaller version of the generator in FILE, a generator.safetensors file or a run directory.

    The new file is an ordinary generator file for `gankit sample`, `eval`, `demo`, `export` and the other commands.

    KEY=VALUE gives settings of a narrower generator, such as generator.width=8. It is trained to give the same samples
    for the same z (distillation). --prune removes the channels that change the samples least, and then trains in the
    same way. If FILE is a run directory, the features of its discriminator are part of the loss. --int8 makes the file
    four times smaller, and not faster.

    The table compares size, multiply-adds, latency and, with --against, the Frechet distance.

    \b
    gankit compress RUN generator.width=8 --out small.safetensors
    gankit compress RUN --prune 0.5 --out pruned.safetensors --against mnist
    gankit compress pruned.safetensors --int8 --out stored.safetensors
    """
    with StatusLine() as status:
        status.show("importing torch")
        from gankit.sampling.generator_file import generator_file
        from gankit.sampling.sampler import Sampler
        from gankit.training.compression import check_arguments, compress

        path = generator_file(file)
        check_arguments(path, out, overrides, share, int8, iterations)
        given = None
        if sources is not None:
            given = sources_of(Sampler.load(path, "cpu", trust), sources).images
        distances = []
        if against is not None:  # before the training, so that wrong data end the command at once
            status.show("computing the Frechet distance of the original")
            distances.append(frechet_distance(path, against, count, device, trust))
        status.clear()
        result = compress(file, out, overrides, share, int8, iterations, seed, device or "auto", trust, sources=given)
        status.show("measuring")
        rows = comparison_rows(result, path, out)
        if against is not None:
            status.show("computing the Frechet distance")
            distances.append(frechet_distance(out, against, count, device, trust))
            rows.append(("Frechet distance", distances[0], distances[1]))
    if result.pruned is not None:
        click.echo(f"{result.pruned.removed} of {result.pruned.units} groups of channels are removed")
    first = ""
    if share is not None or overrides:
        first = f"{result.start:.4f} at first, now "
        loss = "samples and features of the discriminator" if result.with_discriminator else "samples"
        click.echo(f"trained for {plural(iterations, 'step')}, loss of {loss}")
    click.echo(f"mean absolute difference of the samples: {first}{result.distance:.4f}")
    print_table(("", "before", "after"), rows)
    click.echo(f"written: {out}")


def comparison_rows(result: Compression, before: Path, after: Path) -> list[tuple[str, str, str]]:
    """Return the rows of the table with size and speed of both generators."""
    import torch

    from gankit.sampling.benchmark import BATCHES, compare_latency, size_of

    one, other = size_of(result.before, before), size_of(result.after, after)
    rows = [
        ("file", f"{one.bytes / 1e6:.2f} MB", f"{other.bytes / 1e6:.2f} MB"),
        ("parameters", f"{one.parameters:,}", f"{other.parameters:,}"),
        ("multiply-adds for an image", f"{one.multiply_adds:,}", f"{other.multiply_adds:,}"),
    ]
    for batch in BATCHES:
        first, second = compare_latency((result.before, result.after), batch)
        threads = f", {plural(torch.get_num_threads(), 'thread')}" if result.after.device.type == "cpu" else ""
        rows += [
            (f"latency, batch {batch}{threads}", milliseconds(first.median), milliseconds(second.median)),
            (f"images/s, batch {batch}", f"{first.images_per_second:,.0f}", f"{second.images_per_second:,.0f}"),
        ]
    return rows


def frechet_distance(file: Path, against: str, count: int, device: str | None, trust: bool) -> str:
    """Return the Frechet distance of the generator in a file, on the bundled features, as text."""
    from gankit.evaluation.standalone import metric_of

    changes = {"evaluation": {"count": count}, "extractor": {"use": "bundled"}}
    return f"{metric_of(file, 'frechet_distance', against, changes, device or 'auto', trust):.4g}"
