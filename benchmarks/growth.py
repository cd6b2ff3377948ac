"""Growth of gankit's time with the batch, the size of the images, channels, classes, plugins, ranks and stored data.

    python benchmarks/growth.py [--json RESULT.json] [--quick]

The sizes of one quantity are interleaved in one process. Each round gives an exponent: the slope of the logarithm of
the time over the logarithm of the quantity. 1 is proportional and 0 is no growth.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from processes import GANKIT, environment, output_of, seconds_of
from timing import Loop, Result, command_line, interleaved, machine, quartiles, table, timed
from workloads import PLUGINS, started

from gankit import Recipe
from gankit.data.batches import Batches, ShuffledIndices
from gankit.plugin.dataset import Rows
from gankit.plugin.registry import Registry
from gankit.report.page import page
from gankit.report.run_record import read_run
from gankit.runtime.ranks import current_ranks
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch, start
from gankit.training.loop import save
from gankit.training.reporter import Reporter
from gankit.training.update import train_iteration


@dataclass(frozen=True)
class Growth:
    """Loops for several sizes of one quantity."""

    what: str
    quantity: str
    loops: Mapping[float, Loop]
    repeats: int = 1


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Return b of the power law time = a size^b, by least squares of the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(time) for time in times]
    return statistics.linear_regression(x, y).slope


def measure(quick: bool) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rounds = 2 if quick else 5
        found = [grown(growth, rounds) for growth in growths_in_process(place, quick)]
        if not quick:
            variables = environment(place / "bytecode")
            found += [grown(growth, 3) for growth in growths_of_entry_points(place, variables)]
        return {
            "machine": machine(),
            "growths": found,
            "ranks": {} if quick else scaling(environment(place / "bytecode")),
            "order": size_of_order(1_000 if quick else 6_000_000),
            "parameters of a class": parameters_of_a_class(),
            "installed": len(Registry.installed().entries),
        }


def grown(growth: Growth, rounds: int) -> dict[str, Any]:
    """Return the milliseconds of each size, their ratios to the smallest size, and the quartiles of the exponent."""
    names = {str(size): loop for size, loop in growth.loops.items()}
    taken = interleaved(names, rounds, growth.repeats, warm_up=1)
    sizes = list(growth.loops)
    slopes = [exponent(sizes, [taken.wall[name][number] for name in names]) for number in range(rounds)]
    slope = quartiles(slopes)
    return {
        "what": growth.what,
        "quantity": growth.quantity,
        "sizes": sizes,
        "milliseconds": [taken.milliseconds(name) for name in names],
        "times": [taken.ratio(name, str(sizes[0])).median for name in names],
        "exponent": slope._asdict(),
    }


def growths_in_process(place: Path, quick: bool) -> list[Growth]:
    """Return the growths that are measured in this process: iterations first, then single acts."""

    def of(*sizes: int) -> tuple[int, ...]:
        return sizes[:2] if quick else sizes

    small = {"width": 2, "resolution": 8, "batch_size": 4}
    logs, orders = of(100, 1_000, 10_000), of(60_000, 600_000, 6_000_000)
    return [
        iterations("images in the batch", {n: dcgan(batch_size=n) for n in of(16, 64, 256, 1_024, 4_096)}),
        iterations("pixels of a side", {n: dcgan(resolution=n, batch_size=16) for n in of(8, 16, 32, 64)}),
        iterations("channels", {n: dcgan(width=n) for n in of(8, 16, 32, 64)}),
        iterations("classes, 80 images in the batch", {n: igan_vn(n, 80) for n in of(2, 5, 10, 20, 40)}),
        iterations("classes, 2 images of each", {n: igan_vn(n, 2 * n) for n in of(2, 10, 50, 200, 1_000)}),
        iterations("images in the data", {n: dcgan(count=n, **small) for n in of(1_000, 10_000, 100_000)}, 20),
        iterations("plugins that do nothing", {n: dcgan(idle=n, **small) for n in of(1, 10, 100, 1_000)}, 20),
        Growth("a checkpoint", "parameters", dict(checkpoint(place, width) for width in of(16, 32, 64, 128))),
        Growth("the report", "rows of the log", {n: reporting(run_with_rows(place, n)) for n in logs}),
        Growth(
            "a resume's rewind", "rows of the log", {n: partial(run_with_rows(place, n).rewind, 10**9) for n in logs}
        ),
        Growth(
            "a comparison's page",
            "runs",
            {n: reporting(*(run_with_rows(place, 100, seed) for seed in range(n))) for n in of(2, 10, 50)},
        ),
        Growth("a new epoch's order", "images in the data", {n: reshuffling(n) for n in orders}),
        Growth("a batch by class", "classes, one image of each", {n: drawing(n) for n in of(10, 100, 1_000)}, 20),
    ]


def iterations(quantity: str, recipes: Mapping[int, Recipe], repeats: int = 1) -> Growth:
    """Return the growth of an iteration over recipes by size."""
    return Growth("an iteration", quantity, {size: training(recipe) for size, recipe in recipes.items()}, repeats)


def training(recipe: Recipe) -> Loop:
    """Return an iteration of a recipe."""
    run = started(recipe)
    return lambda: train_iteration(run)


def dcgan(batch_size: int = 32, resolution: int = 16, width: int = 16, count: int = 5_000, idle: int = 0) -> Recipe:
    """Return a recipe of DCGAN with plugins that do nothing."""
    return Recipe.from_dict(
        {
            "train": {"batch_size": batch_size, "device": "cpu"},
            "data": {"use": f"{PLUGINS}:RandomImages", "count": count, "resolution": resolution, "classes": 0},
            "generator": {"use": "dcgan", "width": width},
            "discriminator": {"use": "dcgan", "width": width},
            "normalization": {"generator": "batch_norm", "discriminator": "batch_norm"},
            "tricks": {f"idle_{number}": {"use": f"{PLUGINS}:Idle"} for number in range(idle)},
        }
    )


def igan_vn(classes: int, batch_size: int, resolution: int = 16, channels: int = 16, width: int = 8) -> Recipe:
    """Return a recipe of IGAN_vN."""
    count = max(1_000, batch_size)
    return Recipe.from_dict(
        {
            "train": {"batch_size": batch_size, "device": "cpu"},
            "data": {"use": f"{PLUGINS}:RandomImages", "count": count, "resolution": resolution, "classes": classes},
            "generator": {"use": "igan_vn", "channels": channels},
            "discriminator": {"use": "igan_per_class", "width": width},
            "normalization": {"generator": "batch_norm"},
            "tricks": {"gradient_penalty": {}},
        }
    )


def checkpoint(place: Path, width: int) -> tuple[float, Loop]:
    """Return the number of parameters, and a function that saves them."""
    run = started(dcgan(width=width, resolution=32))
    train_iteration(run)
    directory = RunDir.create(run.recipe, place / f"width-{width}")

    def again() -> None:
        # An existing checkpoint would be compared, not written.
        run.iteration += 1
        save(run, directory)

    return sum(p.numel() for of in run.parameters.values() for p in of), again


def run_with_rows(place: Path, rows: int, seed: int = 0) -> RunDir:
    """Return a run of one iteration whose log has many rows."""
    path = place / f"rows-{rows}-{seed}"
    if not path.exists():
        recipe = dcgan(resolution=8, width=2, batch_size=4).changed(["train.iterations=1", f"seed={seed}"])
        start(recipe, path, Reporter())
        row = RunDir.open(path).read_log()[0]
        many = [row | {"iteration": 30 * number, "seconds": float(number)} for number in range(1, rows + 1)]
        (path / "log.jsonl").write_text("\n".join(map(json.dumps, many)) + "\n")
    return RunDir.open(path)


def reporting(*runs: RunDir) -> Loop:
    """Return a function that builds the page of runs."""
    return lambda: page([read_run(run.path) for run in runs])


def rewinding(directory: RunDir) -> Loop:
    """Return a function that rewinds the log of a run, as a resume does."""
    return lambda: directory.rewind(10**9)


def reshuffling(images: int) -> Loop:
    """Return a function that draws the order of an epoch."""
    sequence = ShuffledIndices(torch.arange(images), seed=0)
    return lambda: sequence.seek(sequence.epoch + 1, 0)


def drawing(classes: int) -> Loop:
    """Return a function that draws a class-balanced batch."""
    images, labels = torch.zeros(10 * classes, 1, 8, 8, dtype=torch.uint8), torch.arange(10 * classes) % classes
    return Batches(Rows(images, labels), classes, classes, seed=0).next


def size_of_order(images: int) -> dict[str, int]:
    """Return the bytes of the order of an epoch: the indices of the images and their permutation."""
    sequence = ShuffledIndices(torch.arange(images), seed=0)
    return {"images": images, "bytes": sequence.indices.nbytes + sequence.order.nbytes}


def parameters_of_a_class() -> int:
    """Return the number of parameters that a class adds to the networks of igan_vn_mnist."""
    few, more = (
        sum(p.numel() for of in assemble(igan_vn(classes, 2 * classes, 28, 32, 16)).parameters.values() for p in of)
        for classes in (2, 4)
    )
    return (more - few) // 2


def growths_of_entry_points(place: Path, variables: dict[str, str]) -> list[Growth]:
    """Return the growth of whole processes with the number of installed plugins, five in each distribution."""
    numbers = (10, 100, 1_000, 10_000)
    around = {number: variables | {"PYTHONPATH": str(installed(place, number))} for number in numbers}

    def processes(*arguments: str) -> dict[float, Loop]:
        command = [*GANKIT, *arguments]
        return {number: partial(seconds_of, command, variables) for number, variables in around.items()}

    return [
        Growth("`gankit --help`", "plugins installed", processes("--help")),
        Growth("`gankit validate igan_vn`", "plugins installed", processes("validate", "igan_vn")),
        Growth("`gankit list-plugins`", "plugins installed", processes("list-plugins")),
    ]


def installed(place: Path, plugins: int) -> Path:
    """Return a folder of distributions with this many tricks in total, as pip installs them."""
    folder = place / f"plugins-{plugins}"
    for number in range(plugins // 5):
        package, metadata = folder / f"kit_{number}", folder / f"kit_{number}-1.0.dist-info"
        package.mkdir(parents=True)
        metadata.mkdir()
        names = [f"Trick{k}" for k in range(5)]
        source = ["from gankit import Plugin, hookimpl", "", ""]
        for name in names:
            source += [f"class {name}(Plugin):", f'    """Plugin {name} of kit {number}, which does nothing."""', ""]
            source += [f'    name = "{name.lower()}_of_{number}"', "", "    @hookimpl"]
            source += ["    def after_iteration(self, run):", "        return None", "", ""]
        (package / "__init__.py").write_text("\n".join(source))
        points = [f"trick.{name.lower()}_of_{number} = kit_{number}:{name}" for name in names]
        (metadata / "entry_points.txt").write_text("\n".join(["[gankit.plugins]", *points]) + "\n")
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kit-{number}\nVersion: 1.0\n")
    return folder


BATCH = 128
"""Batch of one rank: DCGAN at the width of its recipe, on images of MNIST's size."""


def scaling(variables: dict[str, str]) -> dict[str, list[float]]:
    """Return the milliseconds on one rank, on two that share its batch, and on two with a batch each."""
    if (os.cpu_count() or 1) < 2:
        return {}
    kinds = {
        "one rank": (1, BATCH),
        "two ranks, the same batch": (2, BATCH),
        "two ranks, twice the batch": (2, 2 * BATCH),
        "one rank again": (1, BATCH),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    for number in range(5):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            ranks, batch_size = kinds[name]
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
            command += [__file__, str(batch_size)]
            output = output_of(command, variables | {"OMP_NUM_THREADS": "1"})
            milliseconds[name].append(float(output.split()[-1]))
    return milliseconds


def section(found: Result) -> str:
    rows = []
    for growth in [*found["growths"], *_growths_of_ranks(found["ranks"])]:
        slope, (first, *_, last) = growth["exponent"], (f"{size:,}" for size in growth["sizes"])
        times = [f"{growth['milliseconds'][0]:.3g} ms", f"{growth['times'][-1]:.3g}"]
        exponents = f"{slope['median']:.2f} ({slope['low']:.2f} to {slope['high']:.2f})"
        rows.append([growth["what"], growth["quantity"], first, last, *times, exponents])
    heads = "time of", "quantity", "from", "to", "time of the smallest", "largest over smallest", "exponent"
    parts = [
        "## Growth",
        f"On {found['machine']}. The exponent is the slope of the logarithm of the time over that of the quantity: 1 "
        "is proportional and 0 is no growth. Sizes are interleaved. The exponent is the median over the rounds, with "
        "quartiles.",
        "\n".join(table(heads, rows)),
        *_ranks(found["ranks"]),
        *_larger_scale(found),
    ]
    return "\n\n".join(parts) + "\n"


def _growths_of_ranks(ranks: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Return the rows of the table for two ranks, with the batch shared or twice as large."""
    if not ranks:
        return []
    one, *two, _ = ranks.values()
    quantities = f"ranks that share a batch of {BATCH}", f"ranks with {BATCH} images each"
    rows = []
    for quantity, of_two in zip(quantities, two, strict=True):
        times = [b / a for a, b in zip(one, of_two, strict=True)]
        figures = {"milliseconds": [statistics.median(one)], "times": [statistics.median(times)], "sizes": [1, 2]}
        slope = quartiles([math.log2(time) for time in times])._asdict()
        rows.append({"what": "an iteration", "quantity": quantity, "exponent": slope} | figures)
    return rows


def _ranks(ranks: Mapping[str, Sequence[float]]) -> list[str]:
    if not ranks:
        return []
    one, shared, doubled, again = (statistics.median(of) for of in ranks.values())
    return [
        "Ranks are processes of one thread each, connected by gloo on the cores of this machine; DCGAN at 28x28. One "
        f"rank takes {one:.1f} ms for a batch of {BATCH}. Two that share the batch take {shared:.1f} ms, "
        f"{one / shared:.2f} times as fast. Two with {BATCH} images each take {doubled:.1f} ms, "
        f"{2 * one / doubled:.2f} times the images per second. The control, one rank again, takes {again / one:.2f} "
        "of the time of one."
    ]


def _larger_scale(found: Result) -> list[str]:
    """Return the limits at 100 times the present scale. Figures are measured; the rest follows from the code."""
    ranks = {name: statistics.median(of) for name, of in found["ranks"].items()}
    if not ranks:
        return []
    one, shared, doubled, _ = ranks.values()
    of_a_class, order = found["parameters of a class"], found["order"]
    batch, classes = _grown(found, "images in the batch"), _grown(found, "classes, 2 images of each")
    epoch, idle = _grown(found, "images in the data", "a new epoch's order"), _grown(found, "plugins that do nothing")
    listing, helping = (_grown(found, "plugins installed", f"`gankit {name}`") for name in ("list-plugins", "--help"))
    log, rewind = _grown(found, "rows of the log", "the report"), _grown(found, "rows of the log", "a resume's rewind")
    compared = _grown(found, "runs", "a comparison's page")
    thousand = 1_000 * of_a_class
    microseconds = 1000 * (idle["milliseconds"][-1] - idle["milliseconds"][0]) / (idle["sizes"][-1] - idle["sizes"][0])
    rows = [
        (
            "ranks: 2 to 200",
            f"The first limit. 200 ranks cannot share a batch of {BATCH}, and a larger batch changes the training. Two "
            f"ranks that share it are {one / shared:.2f} times as fast as one. Two with {BATCH} images each train on "
            f"{2 * one / doubled:.2f} times the images per second. Gradients are averaged after the backward pass, and "
            "nothing is computed meanwhile.",
            "Average gradients in parts during the backward pass; use larger networks before more ranks.",
        ),
        (
            "classes: 10 to 1,000, with a network for each (`igan_vn`, `igan_per_class`)",
            f"Memory. A class adds {of_a_class:,} parameters to the networks of igan_vn_mnist, so 1,000 classes have "
            f"{thousand / 1e6:.0f} million. With gradients and Adam's two averages they take "
            f"{thousand * 4 * 4 / 2**30:.1f} GiB. A batch must be a multiple of 1,000. Time is no limit: "
            f"{classes['times'][-1]:.0f} times that of {classes['sizes'][0]} classes for "
            f"{classes['sizes'][-1] // classes['sizes'][0]} times the images, at small width.",
            "Use one network that takes the class as input (`conditional_dcgan`).",
        ),
        (
            "images in a batch: 64 to 6,400",
            f"Memory of the layers' outputs, which is proportional. {batch['sizes'][-1]:,} images take "
            f"{batch['times'][-1]:.0f} times the time of {batch['sizes'][0]}.",
            "Use `train.accumulate`, which computes a batch in parts, or ranks.",
        ),
        (
            "images in the data: 60,000 to 6 million",
            f"Reading. The order of {order['images']:,} images takes {order['bytes'] / 2**20:.0f} MiB and "
            f"{epoch['milliseconds'][-1]:.0f} ms at the start of each epoch. An iteration takes no longer. Single "
            "image files are decoded each time a run starts.",
            "Run `gankit prepare` once: it writes one file, which is memory-mapped and read ahead.",
        ),
        (
            f"plugins installed: {found['installed']} to 100 times as many",
            f"No limit. With {listing['sizes'][-1]:,} more, five in each distribution, `gankit list-plugins` takes "
            f"{listing['milliseconds'][-1] / 1000:.1f} s and `gankit --help` {helping['milliseconds'][-1] / 1000:.2f} "
            "s, because each process reads the metadata of every distribution.",
            "Cache the metadata by the modification times of the folders, if needed.",
        ),
        (
            "plugins in a recipe: 10 to 1,000",
            f"No limit. {idle['sizes'][-1]:,} that do nothing make an iteration of {idle['milliseconds'][0]:.1f} ms "
            f"{idle['times'][-1]:.2f} times as long, {microseconds:.1f} microseconds for each.",
            "None needed.",
        ),
        (
            "iterations: 2,000 to 200,000",
            f"No limit. The report of {log['sizes'][-1]:,} rows of the log takes {log['milliseconds'][-1]:.0f} ms, "
            f"with downsampled curves and selected images. A resume reads them in {rewind['milliseconds'][-1]:.0f} ms. "
            "Old checkpoints are removed; grids stay.",
            "None needed; raise `output.sample_every` for fewer grids.",
        ),
        (
            "runs in a comparison: 10 to 1,000",
            f"The reader. {compared['sizes'][-1]} runs take {compared['milliseconds'][-1]:.0f} ms, and the time is "
            f"proportional (exponent {compared['exponent']['median']:.2f}). The images of a page share 4 MB.",
            "Use `gankit ablate`, which gives statistics instead of images.",
        ),
    ]
    lines = table(("at 100 times the present scale", "limit", "remedy"), rows)
    return ["### Limits at 100 times the present scale", "\n".join(lines)]


def _grown(found: Result, quantity: str, what: str = "an iteration") -> dict[str, Any]:
    """Return the growth of a quantity, as measured for several sizes."""
    return next(g for g in found["growths"] if (g["what"], g["quantity"]) == (what, quantity))


def train_rank(batch_size: int) -> None:
    """Print the median milliseconds of an iteration on the ranks that torchrun has started."""
    recipe = dcgan(batch_size=batch_size, resolution=28, width=32)
    prepare_torch(recipe)
    ranks = current_ranks()
    run = assemble(recipe, ranks=ranks)
    run.load_data()
    run.ranks.broadcast_(state for network in run.networks.values() for state in network.state_dict().values())
    seconds = [timed(lambda: train_iteration(run), 1)[0] for _ in range(12)]
    if ranks.rank == 0:
        print(1000 * statistics.median(seconds[2:]), flush=True)
    ranks.any(False)  # Wait for the other ranks.


if __name__ == "__main__":
    if "LOCAL_RANK" in os.environ:
        train_rank(int(sys.argv[1]))
    else:
        command_line(__doc__, measure, section)
