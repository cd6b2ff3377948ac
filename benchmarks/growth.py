"""How gankit's time grows: with the batch, the images' size, channels, classes, plugins, ranks; and with what piles up.

    python benchmarks/growth.py [--json FOUND.json] [--quick]

Sizes of one quantity take turns in one process, and each round gives an exponent: the slope of the logarithm of time
over the logarithm of the quantity. 1 is proportional, 0 no growth at all, 2 is what breaks when all is larger.
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
from pathlib import Path
from typing import Any, Literal

import torch
from processes import GANKIT, environment, output_of, seconds_of
from timing import Loop, ResolvedPlugin, command_line, interleaved, machine
from workloads import PARTS

from gankit import Recipe
from gankit.data.batches import Batches, ShuffledIndices
from gankit.plugin.registry import Registry
from gankit.report.page import page
from gankit.report.run_record import read_run
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch, start
from gankit.training.loop import save
from gankit.training.reporter import Reporter
from gankit.training.update import train_iteration

HERE = Path(__file__).parent

Of = Literal["iteration", "act", "process"]


@dataclass(frozen=True)
class Growth:
    """Something that takes time, for several sizes of what it depends on."""

    what: str
    quantity: str
    loops: dict[float, Loop]
    repeats: int = 1


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """b of the power law time = a size^b that is nearest, by least squares of the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(time) for time in times]
    return statistics.linear_regression(x, y).slope


def measure(quick: bool) -> ResolvedPlugin:
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
    """Milliseconds of each size, times of the smallest's in the same round, and the exponent's quartiles."""
    names = {str(size): loop for size, loop in growth.loops.items()}
    taken = interleaved(names, rounds, growth.repeats, warm_up=1)
    sizes = list(growth.loops)
    slopes = [exponent(sizes, [taken.wall[name][number] for name in names]) for number in range(rounds)]
    low, median, high = statistics.quantiles(slopes, n=4)
    return {
        "what": growth.what,
        "quantity": growth.quantity,
        "sizes": sizes,
        "milliseconds": [taken.milliseconds(name) for name in names],
        "times": [taken.ratio(name, str(sizes[0])).median for name in names],
        "exponent": {"median": median, "low": low, "high": high},
    }


def growths_in_process(place: Path, quick: bool) -> list[Growth]:
    """Of an iteration first, then of what happens now and then."""

    def of(*sizes: int) -> tuple[int, ...]:
        return sizes[:2] if quick else sizes

    small = {"width": 2, "resolution": 8, "batch_size": 4}
    logs = of(100, 1_000, 10_000)
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
        Growth("a resume's rewind", "rows of the log", {n: rewinding(run_with_rows(place, n)) for n in logs}),
        Growth("a comparison's page", "runs", {n: comparing(place, n) for n in of(2, 10, 50)}),
        Growth(
            "a new epoch's order", "images in the data", {n: reshuffling(n) for n in of(60_000, 600_000, 6_000_000)}
        ),
        Growth("a batch by class", "classes, one image of each", {n: drawing(n) for n in of(10, 100, 1_000)}, 20),
    ]


def iterations(quantity: str, recipes: Mapping[int, Recipe], repeats: int = 1) -> Growth:
    return Growth("an iteration", quantity, {size: playing(recipe) for size, recipe in recipes.items()}, repeats)


def playing(recipe: Recipe) -> Loop:
    prepare_torch(recipe)
    run = assemble(recipe)
    run.load_data()
    return lambda: train_iteration(run)


def dcgan(batch_size: int = 32, resolution: int = 16, width: int = 16, count: int = 5_000, idle: int = 0) -> Recipe:
    return Recipe.from_dict(
        {
            "train": {"batch_size": batch_size, "device": "cpu"},
            "data": {"use": f"{PARTS}:RandomImages", "count": count, "resolution": resolution, "classes": 0},
            "generator": {"use": "dcgan", "width": width},
            "discriminator": {"use": "dcgan", "width": width},
            "normalization": {"generator": "batch_norm", "discriminator": "batch_norm"},
            "tricks": {f"idle_{number}": {"use": f"{PARTS}:Idle"} for number in range(idle)},
        }
    )


def igan_vn(classes: int, batch_size: int, resolution: int = 16, channels: int = 16, width: int = 8) -> Recipe:
    count = max(1_000, batch_size)
    return Recipe.from_dict(
        {
            "train": {"batch_size": batch_size, "device": "cpu"},
            "data": {"use": f"{PARTS}:RandomImages", "count": count, "resolution": resolution, "classes": classes},
            "generator": {"use": "igan_vn", "channels": channels},
            "discriminator": {"use": "igan_per_class", "width": width},
            "normalization": {"generator": "batch_norm"},
            "tricks": {"gradient_penalty": {}},
        }
    )


def checkpoint(place: Path, width: int) -> tuple[float, Loop]:
    """The number of parameters, and what saves them."""
    run = assemble(dcgan(width=width, resolution=32))
    run.load_data()
    train_iteration(run)
    directory = RunDir.create(run.recipe, place / f"width-{width}")

    def again() -> None:
        # One that is there already is compared with, not written.
        run.iteration += 1
        save(run, directory)

    return sum(p.numel() for of in run.parameters.values() for p in of), again


def run_with_rows(place: Path, rows: int) -> RunDir:
    """A run of one iteration, whose log says that there were many."""
    path = place / f"rows-{rows}"
    if not path.exists():
        recipe = dcgan(resolution=8, width=2, batch_size=4).changed(["train.iterations=1"])
        start(recipe, path, Reporter())
        row = RunDir.open(path).read_log()[0]
        lines = (
            json.dumps(row | {"iteration": 30 * number, "seconds": float(number)}) for number in range(1, rows + 1)
        )
        (path / "log.jsonl").write_text("\n".join(lines) + "\n")
    return RunDir.open(path)


def reporting(directory: RunDir) -> Loop:
    return lambda: page([read_run(directory.path)])


def rewinding(directory: RunDir) -> Loop:
    return lambda: directory.rewind(10**9)


def comparing(place: Path, runs: int) -> Loop:
    """The page of so many runs of another seed each, of 100 rows."""
    paths = []
    for seed in range(runs):
        paths.append(place / f"seed-{seed}")
        if not paths[-1].exists():
            recipe = dcgan(resolution=8, width=2, batch_size=4).changed(["train.iterations=1", f"seed={seed}"])
            start(recipe, paths[-1], Reporter())
            (paths[-1] / "log.jsonl").write_text((run_with_rows(place, 100).path / "log.jsonl").read_text())
    return lambda: page([read_run(path) for path in paths])


def reshuffling(images: int) -> Loop:
    sequence = ShuffledIndices(torch.arange(images), seed=0)
    return lambda: sequence.seek(sequence.epoch + 1, 0)


def drawing(classes: int) -> Loop:
    batches = Batches(
        torch.zeros(10 * classes, 1, 8, 8, dtype=torch.uint8),
        torch.arange(10 * classes) % classes,
        classes,
        classes,
        seed=0,
    )
    return batches.next


def size_of_order(images: int) -> dict[str, int]:
    """Bytes that the order of so many images takes: their numbers, and their permutation of this epoch."""
    sequence = ShuffledIndices(torch.arange(images), seed=0)
    return {"images": images, "bytes": sequence.indices.nbytes + sequence.order.nbytes}


def parameters_of_a_class() -> int:
    """What one more class adds to the networks of the recipe igan_vn_mnist."""
    few, more = (
        sum(p.numel() for of in assemble(igan_vn(classes, 2 * classes, 28, 32, 16)).parameters.values() for p in of)
        for classes in (2, 4)
    )
    return (more - few) // 2


def growths_of_entry_points(place: Path, variables: dict[str, str]) -> list[Growth]:
    """Of whole processes, with so many more plugins installed than now, five in each distribution."""
    numbers = (10, 100, 1_000, 10_000)
    around = {number: variables | {"PYTHONPATH": str(installed(place, number))} for number in numbers}

    def processes(*arguments: str) -> dict[float, Loop]:
        command = [*GANKIT, *arguments]
        return {number: _process(command, variables) for number, variables in around.items()}

    return [
        Growth("`gankit --help`", "plugins installed", processes("--help")),
        Growth("`gankit validate igan_vn`", "plugins installed", processes("validate", "igan_vn")),
        Growth("`gankit list-plugins`", "plugins installed", processes("list-plugins")),
    ]


def _process(command: Sequence[str], variables: dict[str, str]) -> Loop:
    return lambda: seconds_of(command, variables)


def installed(place: Path, plugins: int) -> Path:
    """A folder of distributions as pip leaves them, with so many tricks in all."""
    folder = place / f"plugins-{plugins}"
    for number in range(plugins // 5):
        package, card = folder / f"kit_{number}", folder / f"kit_{number}-1.0.dist-info"
        package.mkdir(parents=True)
        card.mkdir()
        names = [f"Trick{k}" for k in range(5)]
        source = ["from gankit import Plugin, hookimpl", "", ""]
        for name in names:
            source += [f"class {name}(Plugin):", f'    """Does nothing. It is {name} of kit {number}."""', ""]
            source += [f'    name = "{name.lower()}_of_{number}"', "", "    @hookimpl"]
            source += ["    def after_iteration(self, run):", "        return None", "", ""]
        (package / "__init__.py").write_text("\n".join(source))
        points = [f"trick.{name.lower()}_of_{number} = kit_{number}:{name}" for name in names]
        (card / "entry_points.txt").write_text("\n".join(["[gankit.plugins]", *points]) + "\n")
        (card / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kit-{number}\nVersion: 1.0\n")
    return folder


BATCH = 128
"""What one rank plays alone: images of MNIST's size, DCGAN of its recipe's width."""


def scaling(variables: dict[str, str]) -> dict[str, list[float]]:
    """Milliseconds of an iteration on one rank of one thread, on two that share its batch, and on two with one each."""
    if (os.cpu_count() or 1) < 2:
        return {}
    kinds = {
        "one rank": (1, BATCH),
        "two ranks, the same batch": (2, BATCH),
        "two ranks, twice the batch": (2, 2 * BATCH),
        "one rank again": (1, BATCH),
    }
    played: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    for number in range(5):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            ranks, batch_size = kinds[name]
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
            command += [str(HERE / "growth_rank.py"), str(batch_size), "10"]
            said = output_of(command, variables | {"OMP_NUM_THREADS": "1"})
            played[name].append(float(said.split()[-1]))
    return played


def section(found: ResolvedPlugin) -> str:
    rows = ["| time of | against | from | to | the smallest takes | largest over smallest | exponent |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for growth in [*found["growths"], *_growths_of_ranks(found["ranks"])]:
        slope = growth["exponent"]
        rows.append(
            f"| {growth['what']} | {growth['quantity']} | {growth['sizes'][0]:,} | {growth['sizes'][-1]:,} | "
            f"{growth['milliseconds'][0]:.3g} ms | {growth['times'][-1]:.3g} | "
            f"{slope['median']:.2f} ({slope['low']:.2f} to {slope['high']:.2f}) |"
        )
    parts = [
        "## How it grows",
        f"On {found['machine']}. The exponent is the slope of the logarithm of time over that of the quantity: 1 is "
        "proportional, 0 no growth. Sizes take turns; of the rounds' exponents the median and the quartiles.",
        "\n".join(rows),
        *_ranks(found["ranks"]),
        *_hundredfold(found),
    ]
    return "\n\n".join(parts) + "\n"


def _growths_of_ranks(ranks: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Rows of the table: from one rank to two, with the batch shared or twice as large."""
    if not ranks:
        return []
    one, *two, _ = ranks.values()
    quantities = f"ranks that share a batch of {BATCH}", f"ranks with {BATCH} images each"
    rows = []
    for quantity, of_two in zip(quantities, two, strict=True):
        times = [b / a for a, b in zip(one, of_two, strict=True)]
        low, median, high = statistics.quantiles(map(math.log2, times), n=4)
        rows.append(
            {
                "what": "an iteration",
                "quantity": quantity,
                "sizes": [1, 2],
                "milliseconds": [statistics.median(one), statistics.median(of_two)],
                "times": [1, statistics.median(times)],
                "exponent": {"median": median, "low": low, "high": high},
            }
        )
    return rows


def _ranks(ranks: Mapping[str, Sequence[float]]) -> list[str]:
    if not ranks:
        return []
    one, shared, doubled, again = (statistics.median(of) for of in ranks.values())
    return [
        "Ranks, each a process of one thread, over gloo on the cores that there are; DCGAN at 28x28: one plays a batch "
        f"of {BATCH} in {one:.1f} ms, two share it in {shared:.1f} ms ({one / shared:.2f} times as fast), and two with "
        f"{BATCH} images each take {doubled:.1f} ms ({2 * one / doubled:.2f} times the images a second). One rank "
        f"again, as the control, takes {again / one:.2f} of the time of one."
    ]


def _hundredfold(found: ResolvedPlugin) -> list[str]:
    """What breaks at a hundred times today's scale. What was measured there is said; the rest follows from the code."""
    ranks = {name: statistics.median(of) for name, of in found["ranks"].items()}
    if not ranks:
        return []
    one, shared, doubled, _ = ranks.values()
    of_a_class, order = found["parameters of a class"], found["order"]
    batch, classes = _grown(found, "images in the batch"), _grown(found, "classes, 2 images of each")
    epoch, idle = _grown(found, "images in the data", "a new epoch's order"), _grown(found, "plugins that do nothing")
    listing, helping = (_grown(found, "plugins installed", f"`gankit {verb}`") for verb in ("list-plugins", "--help"))
    log, rewind = _grown(found, "rows of the log", "the report"), _grown(found, "rows of the log", "a resume's rewind")
    compared = _grown(found, "runs", "a comparison's page")
    thousand = 1_000 * of_a_class
    rows = [
        (
            "ranks: 2 to 200",
            f"Breaks first: 200 ranks cannot share a batch of {BATCH}, so it must grow with them, which is another "
            f"training. Two that share it are {one / shared:.2f} times as fast as one, two with {BATCH} images each "
            f"play {2 * one / doubled:.2f} times the images a second. All gradients are averaged after the backward "
            "pass, and nothing is computed meanwhile.",
            "Average gradients in parts while the backward pass goes on; larger networks before more ranks.",
        ),
        (
            "classes: 10 to 1,000, with a network for each (`igan_vn`, `igan_per_class`)",
            f"Memory: a class adds {of_a_class:,} parameters to igan_vn_mnist's networks, so 1,000 have "
            f"{thousand / 1e6:.0f} million, which with gradients and Adam's two averages take "
            f"{thousand * 4 * 4 / 2**30:.1f} GiB. A batch must be a multiple of 1,000. Time is no obstacle: "
            f"{classes['times'][-1]:.0f} times that of {classes['sizes'][0]} classes for "
            f"{classes['sizes'][-1] // classes['sizes'][0]} times the images, at small width.",
            "One network that is told the class (`conditional_dcgan`), as the plugins' own pages say.",
        ),
        (
            "images in a batch: 64 to 6,400",
            f"Memory of the layers' outputs, which is proportional. {batch['sizes'][-1]:,} images take "
            f"{batch['times'][-1]:.0f} times the time of {batch['sizes'][0]}.",
            "`train.accumulate`, which plays a batch in parts; ranks.",
        ),
        (
            "images in the data: 60,000 to 6 million",
            f"Reading. The order takes {order['bytes'] / 2**20:.0f} MiB for {order['images']:,} images and "
            f"{epoch['milliseconds'][-1]:.0f} ms at the beginning of each epoch, and an iteration takes no longer. "
            "Pictures in single files are decoded each time a run begins.",
            "`gankit prepare`, once: one file, mapped into memory and read ahead.",
        ),
        (
            f"plugins installed: {found['installed']} to 100 times as many",
            f"Nothing. With {listing['sizes'][-1]:,} more, five in each distribution, `gankit list-plugins` takes "
            f"{listing['milliseconds'][-1] / 1000:.1f} s and `gankit --help` {helping['milliseconds'][-1] / 1000:.2f} "
            "s, for every distribution's metadata is read anew by each process.",
            "Remember what was read, by the folders' times of change, if that is ever too long.",
        ),
        (
            "plugins in a recipe: 10 to 1,000",
            f"Nothing. {idle['sizes'][-1]:,} that do nothing make an iteration of {idle['milliseconds'][0]:.1f} ms "
            f"{idle['times'][-1]:.2f} times as long, {_microseconds_each(idle):.1f} microseconds for each of them.",
            "None needed.",
        ),
        (
            "iterations: 2,000 to 200,000",
            f"Nothing. {log['sizes'][-1]:,} rows of the log make a report in {log['milliseconds'][-1]:.0f} ms, with "
            f"thinned curves and chosen pictures; a resume goes through them in {rewind['milliseconds'][-1]:.0f} ms. "
            "Old checkpoints are removed; grids stay.",
            "None needed; `output.sample_every` for fewer grids.",
        ),
        (
            "runs in a comparison: 10 to 1,000",
            f"The reader. {compared['sizes'][-1]} runs take {compared['milliseconds'][-1]:.0f} ms, and it is "
            f"proportional (exponent {compared['exponent']['median']:.2f}); a page's pictures share 4 MB.",
            "`gankit ablate`, which counts instead of showing.",
        ),
    ]
    table = ["| at 100 times today's scale | what breaks | the plan |", "| --- | --- | --- |"]
    return [
        "### At a hundred times today's scale",
        "\n".join([*table, *(f"| {' | '.join(row)} |" for row in rows)]),
    ]


def _microseconds_each(growth: dict[str, Any]) -> float:
    """What one more costs, between the smallest size and the largest."""
    (first, *_, last), sizes = growth["milliseconds"], growth["sizes"]
    return 1000 * (last - first) / (sizes[-1] - sizes[0])


def _grown(found: ResolvedPlugin, quantity: str, what: str = "an iteration") -> dict[str, Any]:
    growth: dict[str, Any]
    (growth,) = (g for g in found["growths"] if (g["what"], g["quantity"]) == (what, quantity))
    return growth


if __name__ == "__main__":
    command_line(__doc__, measure, section)
