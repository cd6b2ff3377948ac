"""`gankit benchmark`: measure the latency of a generator on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from gankit.cli.arguments import AboveZero, device_option
from gankit.cli.status_line import StatusLine
from gankit.cli.text_table import milliseconds, print_table


@click.command("benchmark")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--batch",
    "batches",
    metavar="N",
    multiple=True,
    type=click.IntRange(min=1),
    help="Number of images in a call. May be repeated. Default: 1 and 16.",
)
@click.option(
    "--seconds", metavar="S", default=3.0, show_default=True, type=AboveZero(), help="Measuring time of each row."
)
@device_option
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    overrides: tuple[str, ...],
    batches: tuple[int, ...],
    seconds: float,
    device: str | None,
    trust: bool,
) -> None:
    """Measure how fast the generator in FILE, a generator.safetensors file or a run directory, is on this machine.

    The table has a row for each batch size and each way to run the generator: eager (as `gankit sample` does), compiled
    with torch.compile, and as an ONNX file with onnxruntime on the CPU. It shows the median and the 95th percentile of
    the time of a call, and the images per second. On the CPU, OMP_NUM_THREADS sets the number of threads.

    KEY=VALUE changes a setting of a plugin that is used for sampling, such as generator.psi=0.7.

    \b
    gankit benchmark RUN
    OMP_NUM_THREADS=1 gankit benchmark small.safetensors --batch 1 --batch 64
    """
    with StatusLine() as status:
        status.show("importing torch")
        from gankit.runtime.timing import machine
        from gankit.sampling.benchmark import BATCHES, benchmark, size_of
        from gankit.sampling.generator_file import generator_file
        from gankit.sampling.sampler import Sampler

        path = generator_file(file)
        sampler = Sampler.load(path, device or "auto", trust, overrides=overrides)
        size = size_of(sampler, path)
        speed = benchmark(sampler, tuple(dict.fromkeys(batches)) or BATCHES, seconds=seconds, preparing=status.show)
    click.echo(
        f"{size.bytes / 1e6:.2f} MB, {size.parameters:,} parameters, {size.multiply_adds:,} multiply-adds for an image"
    )
    click.echo(f"{sampler.device}: {machine()}")
    print_table(
        ("backend", "batch", "median", "p95", "images/s"),
        (
            (row.backend, str(row.batch), *map(milliseconds, (row.median, row.p95)), f"{row.images_per_second:,.0f}")
            for row in speed.rows
        ),
    )
    for sentence in speed.left_out:
        click.echo(sentence)
