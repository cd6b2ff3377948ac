"""Time that training waits for images, and the cost of preparing them. Linux only.

    python benchmarks/data.py [--quick] [--json FILE]

Three measurements:

- Training from a prepared file that does not fit into memory, against training from memory. The process gets less
  memory than the size of the file, which needs root and control groups of version 1. Without them, the system keeps the
  whole file in memory, and the section says so.
- The first epoch, when no part of the file is in memory.
- `gankit prepare`: the speed on one core and on all cores, and the memory against the number of images.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gankit import Dataset, Recipe, Rows, read_prepared
from gankit.data.batches import BatchAndState, Batches, PrefetchedBatches, make_batch_source
from gankit.data.prepared import write_prepared
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.run import TrainingRun
from gankit.training.update import default_step_order, train_iteration

# The measured processes run this file by its path.
sys.path.insert(0, str(Path(__file__).parent))
from processes import environment, output_of
from timing import Loop, Ratio, Result, Rounds, command_line, interleaved, machine, table

GROUPS = Path("/sys/fs/cgroup/memory")
MIB = 1 << 20

WORK: dict[str, dict[str, Any]] = {
    "28x28 grey": {"resolution": 28, "channels": 1, "width": 32, "iterations": 8, "first": 30},
    "64x64 colour": {"resolution": 64, "channels": 3, "width": 16, "iterations": 4, "first": 10},
}
"""Images and width. `iterations` are those of a timed block, `first` those from a file that is not in memory."""

BATCH = 64
IN_MEMORY = 4096
"""Images of the run that trains from memory. Their number does not affect the time."""

FILE, LIMIT = 2560 * MIB, 1152 * MIB
ROUNDS = 60

COLD_FILE = 256 * MIB
COLD_ROUNDS = 9

TARGET = 1.02
"""Highest accepted ratio to the time from memory."""

PREPARED = (2_000, 20_000, 200_000)
SIDE = 32
PER_FOLDER = 10_000
PAIRS = 3


def measure(quick: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="gankit-data-") as folder:
        top = Path(folder)
        work = list(WORK)[:1] if quick else list(WORK)
        return {
            "machine": machine(),
            "training": {name: training(top, name, quick) for name in work},
            "cold": {name: first_epoch(top, name, quick) for name in work},
            "preparing": preparing(top, quick),
        }


def training(top: Path, name: str, quick: bool) -> Result:
    """Return the result of a run that has less memory than the file is large."""
    file = top / "large.safetensors"
    size = 8 * MIB if quick else FILE
    random_images(file, name, size)
    try:
        with limited(LIMIT) as group:
            result = measured_process(["training", name, str(file), str(quick)], group) | {"file": size}
            if group is None:
                return result | {"limit": None, "reclaims": None}
            return result | {"limit": LIMIT, "reclaims": int((group / "memory.failcnt").read_text())}
    finally:
        file.unlink()


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """Yield a control group with a memory limit, page cache included, or None if it cannot be created."""
    group = GROUPS / f"gankit-data-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def measured_process(arguments: list[str], group: Path | None = None) -> Result:
    """Run this program in a separate process, in the control group `group`, and return its result."""
    enter = "" if group is None else f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); "
    program = f"{enter}import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__measured__')"
    command = [sys.executable, "-c", program, __file__, *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def random_images(file: Path, name: str, size: int) -> None:
    """Write a prepared file of about `size` bytes."""
    work = WORK[name]
    shape = work["channels"], work["resolution"], work["resolution"]
    count = max(4 * BATCH, size // (shape[0] * shape[1] * shape[2]))
    generator = torch.Generator().manual_seed(0)
    chunk = torch.randint(0, 256, (min(count, 1024), *shape), generator=generator, dtype=torch.uint8)

    def chunks() -> Iterator[Rows]:
        for begin in range(0, count, len(chunk)):
            yield Rows(chunk[: count - begin])

    metadata = {"format": "gankit-images-2", "condition": None, "source": "random", "note": ""}
    write_prepared(file, chunks(), count, shape, metadata)
    drop_from_cache(file)


def drop_from_cache(file: Path) -> None:
    """Drop a file from the page cache. The next reader is charged for its pages."""
    with open(file, "rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def dcgan_run(name: str, dataset: Dataset, seed: int = 0) -> TrainingRun:
    """Return a run of a narrow DCGAN on the CPU. The seed decides the order of the images."""
    work = WORK[name]
    dcgan = {"use": "dcgan", "width": work["width"]}
    adam = {"use": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}
    raw = {
        "seed": seed,
        "train": {"batch_size": BATCH, "device": "cpu"},
        "data": {"use": "shapes", "resolution": work["resolution"], "channels": work["channels"], "count": 64},
        "generator": dcgan,
        "discriminator": dcgan,
        "loss": {"use": "non_saturating"},
        "normalization": {"generator": "batch_norm", "discriminator": "batch_norm"},
        "optimizer": {"generator": adam, "discriminator": adam},
    }
    recipe = Recipe.from_dict(raw, source="benchmarks/data.py")
    prepare_torch(recipe)
    run = assemble(recipe)
    run.dataset = dataset
    run.load_data()
    return run


def in_memory(name: str) -> Dataset:
    """Return random images in memory."""
    work = WORK[name]
    shape = IN_MEMORY, work["channels"], work["resolution"], work["resolution"]
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Dataset((work["channels"], work["resolution"], work["resolution"]), None, lambda: (images, None))


def training_loop(run: TrainingRun, iterations: int) -> Loop:
    """Return a function that trains some iterations."""
    return lambda: [train_iteration(run) for _ in range(iterations)]


def prefetching_loop(run: TrainingRun, iterations: int) -> Loop:
    """Return a function that trains some iterations from a file.

    It returns when the thread has read as many batches as the iterations use, so that none is read while another loop
    is timed.
    """
    source = run.batches
    assert isinstance(source, PrefetchedBatches)
    # The queue and the thread hold `depth` batches each.
    read, finished, expected = source.batches.next_several, 0, 2 * source.depth

    def counting(count: int) -> list[BatchAndState]:
        nonlocal finished
        batches = read(count)
        finished += count
        return batches

    source.batches.next_several = counting  # type: ignore[method-assign]

    train_some = training_loop(run, iterations)

    def train() -> None:
        nonlocal expected
        train_some()
        expected += iterations * len(default_step_order(run))
        while finished < expected:
            time.sleep(0.0001)

    return train


def train_from_file(name: str, file: str, quick: bool) -> Result:
    """Time training from a file and from memory, two copies of each. Runs in a process of its own."""
    iterations = 2 if quick else WORK[name]["iterations"]
    loops = {}
    for copy in range(2):
        # Each copy has its own order, so that it does not use the pages that the other has just read.
        loops[f"file {copy}"] = prefetching_loop(dcgan_run(name, read_prepared(Path(file)), seed=copy), iterations)
        loops[f"memory {copy}"] = training_loop(dcgan_run(name, in_memory(name), seed=copy), iterations)
    # One read of the file fills the memory before the measurement.
    with open(file, "rb", buffering=0) as opened:
        while opened.read(MIB):
            pass
    before = bytes_read()
    single = interleaved(loops, 2 if quick else ROUNDS, warm_up=1)
    both = single.summed({"file": ["file 0", "file 1"], "memory": ["memory 0", "memory 1"]})
    return {
        "slower": both.ratio("file", "memory"),
        "slower in CPU time": both.ratio("file", "memory", "cpu"),
        "control": single.ratio("memory 1", "memory 0"),
        "invalid": invalid(single, "memory 1", "memory 0"),
        "milliseconds": single.milliseconds("memory 0") / iterations,
        "read": bytes_read() - before,
    }


def invalid(rounds: Rounds, one: str, other: str) -> str | None:
    """Return the reason why a measurement is not valid, or None. `one` and `other` train from memory."""
    from_memory = rounds.summed({name: [name] for name in (one, other)})
    return from_memory.invalid(from_memory.ratio(one, other))


def bytes_read() -> int:
    """Return the bytes that this process has read from disk."""
    return int(Path("/proc/self/io").read_text().split("read_bytes:")[1].split()[0])


COLD = ("ahead", "touched")
"""Batches that are prefetched, and pages that are read when training accesses them."""


def first_epoch(top: Path, name: str, quick: bool) -> Result:
    """Return the result of the first epoch."""
    folder = top / "cold"
    folder.mkdir()
    try:
        # Pages that another loop has mapped stay in the cache, so each loop has its own file.
        for way in COLD:
            random_images(folder / way, name, 8 * MIB if quick else COLD_FILE)
        return measured_process(["cold", name, str(folder), str(quick)])
    finally:
        shutil.rmtree(folder)


def train_cold(name: str, folder: str, quick: bool) -> Result:
    """Time the first iterations from cold files, and as many from memory. Runs in a process of its own."""
    iterations = 2 if quick else WORK[name]["first"]
    runs = {way: dcgan_run(name, in_memory(name)) for way in (*COLD, "memory", "control")}
    read = dict.fromkeys(runs, 0)
    rounds = 2 if quick else COLD_ROUNDS

    def first_iterations(way: str) -> Loop:
        train = training_loop(runs[way], iterations)

        def counting() -> None:
            before = bytes_read()
            train()
            batches = runs[way].batches
            assert batches is not None
            batches.close()
            read[way] += bytes_read() - before

        return counting

    taken = interleaved(
        {way: first_iterations(way) for way in runs},
        rounds,
        warm_up=1,
        before={way: from_disk(runs[way], Path(folder) / way, ahead=way == "ahead") for way in COLD},
    )
    size = os.path.getsize(Path(folder) / COLD[0])
    # Bytes of the images of these iterations. Fewer bytes mean that the file was in memory.
    needed = iterations * BATCH * WORK[name]["channels"] * WORK[name]["resolution"] ** 2
    each = {way: read[way] / (rounds + 1) for way in COLD}
    warm = [way for way in COLD if each[way] < min(needed, size) / 2]
    return {
        "iterations": iterations,
        "file": size,
        "ahead": taken.ratio("ahead", "memory"),
        "touched": taken.ratio("touched", "memory"),
        "control": taken.ratio("control", "memory"),
        "read": each,
        "invalid": "most of the file was in memory" if warm else invalid(taken, "control", "memory"),
    }


def from_disk(run: TrainingRun, file: Path, ahead: bool) -> Loop:
    """Return a function that makes a run read a file anew, none of which is in memory, in a new order.

    With `ahead` batches are prefetched. Otherwise each page is read when it is accessed, with its neighbours.
    """
    seeds = itertools.count()

    def restart() -> None:
        # Mapped pages stay in the cache, so the mapping is closed first.
        run.batches = None
        drop_from_cache(file)
        rows = read_prepared(file).read()
        run.batches = batches = make_batch_source(rows, run.device, BATCH, 0, next(seeds), ahead)
        if isinstance(batches, Batches):
            # No advice to the system: pages are read on access only.
            batches.mapped = []

    return restart


def preparing(top: Path, quick: bool) -> Result:
    """Return the peak memory by the number of images, and the speed of one core and of all."""
    counts = [number // 100 for number in PREPARED[:2]] if quick else list(PREPARED)
    folders = {count: top / str(count) for count in counts}
    draw_images(folders)
    prepared(folders[counts[0]], top)  # writes the bytecode
    runs: Result = {str(count): prepared(folders[count], top) for count in counts}
    few, many = counts[-3:-1] if len(counts) > 2 else counts
    seconds: dict[str, list[float]] = {"one": [], "all": []}
    for number in range(1 if quick else PAIRS):
        for way in list(seconds)[:: -1 if number % 2 else 1]:
            both = [prepared(folders[count], top, alone=way == "one")["seconds"] for count in (few, many)]
            seconds[way].append(both[1] - both[0])
    ratios = [all_cores / one for all_cores, one in zip(seconds["all"], seconds["one"], strict=True)]
    return {
        "runs": runs,
        "cores": len(os.sched_getaffinity(0)),
        "few": few,
        "many": many,
        "all_to_one": [min(ratios), statistics.median(ratios), max(ratios)],
        "per_second": {way: (many - few) / statistics.median(taken) for way, taken in seconds.items()},
    }


def draw_images(folders: dict[int, Path]) -> None:
    """Write PNG files in class folders. The smaller collections are links to files of the largest."""
    largest = max(folders)
    generator = torch.Generator().manual_seed(0)
    for number in range(largest):
        name = Path(f"class{number // PER_FOLDER:03d}") / f"{number:07d}.png"
        if number % PER_FOLDER == 0:
            for folder in folders.values():
                (folder / name.parent).mkdir(parents=True, exist_ok=True)
        coarse = torch.randint(0, 256, (3 * (SIDE // 4) ** 2,), generator=generator, dtype=torch.uint8)
        image = Image.frombytes("RGB", (SIDE // 4, SIDE // 4), coarse.numpy().tobytes())
        image.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(folders[largest] / name, compress_level=1)
        for count, folder in folders.items():
            if number < count < largest:
                os.link(folders[largest] / name, folder / name)
    for folder in folders.values():
        for empty in [child for child in folder.iterdir() if not any(child.iterdir())]:
            empty.rmdir()


def prepared(folder: Path, top: Path, alone: bool = False) -> Result:
    """Return the seconds and the peak memory of `gankit prepare`, on one core or on all."""
    out = top / "prepared.safetensors"
    affinity = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" if alone else ""
    settings = [f"path={folder}", f"resolution={SIDE}"]
    began = time.perf_counter()
    command = [sys.executable, "-c", affinity + PREPARE, "prepare", "images", "--out", str(out), *settings]
    output = output_of(command, environment(top / "bytecode"))
    seconds = time.perf_counter() - began
    out.unlink()
    return {"seconds": seconds, "peak": int(output.split("peak ")[1])}


PREPARE = """
from gankit.cli import main
from gankit.runtime.peak_memory import peak_of_process
try:
    main()
finally:
    print("peak", peak_of_process())
"""
"""Program that runs the command and prints the peak memory of its process, without those that decode."""


def section(found: Result) -> str:
    """Return the section of docs/performance.md about this benchmark, as Markdown."""
    all_limited = all(one["limit"] is not None for one in found["training"].values())
    rows = []
    for name, one in found["training"].items():
        limit = "none" if one["limit"] is None else f"{one['limit'] / MIB:.0f} MiB, reached {one['reclaims']} times"
        times = f"{one['milliseconds']:.1f} ms", Ratio(*one["slower"]), Ratio(*one["control"])
        rows.append([name, f"{one['file'] / MIB:.0f} MiB", limit, *times])
    lines = [
        "## Data",
        "",
        f"`python benchmarks/data.py`, {found['machine']}. A narrow DCGAN on the CPU, batches of {BATCH}. Times are "
        "ratios to the same run with images in memory, interleaved in one process, with quartiles over the rounds.",
        "",
        "Training from a prepared file "
        + ("that does not fit into memory, " if all_limited else "that may have been in memory, ")
        + "in random order. Two interleaved copies of each run have their own orders. A timed block ends when as many "
        "batches are prefetched as at its start. "
        f"The target is at most {TARGET}.",
        "",
        *table(("images", "file", "memory limit", "iteration from memory", "from the file", "control"), rows),
        "",
    ]
    for name, one in found["training"].items():
        if one["invalid"]:
            lines.append(f"The measurement of {name} is not valid: {one['invalid']}.")
        else:
            lines.append(f"The target is {'met' if one['slower'][0] <= TARGET else 'missed'} with {name}.")
    if not all_limited:
        lines.append("No control group could be created, which needs root: the files may have been in memory.")
    lines += [
        "",
        "The first iterations from a file that fits into memory, none of which is in memory yet. A timed block starts "
        "without prefetched batches and prefetches a few that it does not use. *Read* is the number of bytes from "
        "disk in a block. Without prefetching, the system reads neighbouring pages too.",
        "",
    ]
    rows, notes = [], []
    for name, one in found["cold"].items():
        ways = [cell for way in COLD for cell in (Ratio(*one[way]), f"{one['read'][way] / MIB:.1f} MiB")]
        rows.append([name, one["iterations"], *ways, Ratio(*one["control"])])
        notes += [f"The measurement of {name} is not valid: {one['invalid']}."] if one["invalid"] else []
    heads = "images", "iterations", "prefetched", "read", "read on access", "read", "control"
    lines += [*table(heads, rows), "", *notes]
    made = found["preparing"]
    low, median, high = made["all_to_one"]
    rows = [
        (f"{int(count):,}", f"{run['peak'] / MIB:.0f} MiB", f"{run['seconds']:.1f}")
        for count, run in made["runs"].items()
    ]
    lines += [
        "",
        f"`gankit prepare` of PNG files of {SIDE}x{SIDE}:",
        "",
        *table(("images", "peak memory of the command, without decoders", "seconds, with start-up"), rows),
        "",
        f"One core prepares {made['per_second']['one']:.0f} images per second, {made['cores']} cores "
        f"{made['per_second']['all']:.0f}. All cores take {median:.2f} of the time of one ({low:.2f} to {high:.2f} in "
        f"{PAIRS} pairs). These are the times of {made['many']:,} images less those of {made['few']:,}, without "
        "start-up.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__measured__":
    measurement, name, file, quick = sys.argv[1:]
    print(json.dumps((train_from_file if measurement == "training" else train_cold)(name, file, quick == "True")))

if __name__ == "__main__":
    command_line(__doc__, measure, section)
