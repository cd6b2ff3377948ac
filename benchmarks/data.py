"""Whether training waits for its images, and what preparing them costs.

    python benchmarks/data.py [--quick] [--json FILE]

On Linux. Three questions. Is training from a prepared file that does not fit into memory as fast as from memory? That
is measured in a process that may use less memory than the file has bytes, which takes root and control groups (version
1); without them the file is whole in memory once it has been read, and the section says so. What does the first epoch
cost, when nothing has been read? And do all cores prepare, in memory that does not grow with the number of images?
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gankit import Dataset, Recipe, read_prepared
from gankit.data.batches import BatchAndState, Batches, PrefetchedBatches, make_batch_source
from gankit.data.prepared import write_prepared
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.run import TrainingRun
from gankit.training.update import default_step_order, train_iteration

sys.path.insert(0, str(Path(__file__).parent))
from processes import environment
from timing import Ratio, ResolvedPlugin, Rounds, command_line, interleaved, machine

GROUPS = Path("/sys/fs/cgroup/memory")
MIB = 1 << 20

# `iterations` of a turn; `first` are those from a file that nobody has read yet.
WORK: dict[str, dict[str, Any]] = {
    "28x28 grey": {"resolution": 28, "channels": 1, "width": 32, "iterations": 8, "first": 30},
    "64x64 colour": {"resolution": 64, "channels": 3, "width": 16, "iterations": 4, "first": 10},
}
BATCH = 64
IN_MEMORY = 4096
"""Images of the game that is played in memory. The order and the copying are those of any number."""

FILE, LIMIT = 2560 * MIB, 1152 * MIB
ROUNDS = 60

COLD_FILE = 256 * MIB
COLD_ROUNDS = 9

TARGET = 1.02
"""Times as long as from memory: 98% of the speed."""

PREPARED = (2_000, 20_000, 200_000)
SIDE = 32
IN_A_FOLDER = 10_000
PAIRS = 3


def measure(quick: bool) -> ResolvedPlugin:
    with tempfile.TemporaryDirectory(prefix="gankit-data-") as folder:
        top = Path(folder)
        work = list(WORK)[:1] if quick else list(WORK)
        return {
            "machine": machine(),
            "training": {name: training(top, name, quick) for name in work},
            "cold": {name: first_epoch(top, name, quick) for name in work},
            "preparing": preparing(top, quick),
        }


# Training from a file that does not fit.


def training(top: Path, name: str, quick: bool) -> ResolvedPlugin:
    """What the game found that was played where the file does not fit, and how much did not."""
    file = top / "large.safetensors"
    size = 8 * MIB if quick else FILE
    random_images(file, name, size)
    try:
        with limited(LIMIT) as group:
            found = inside(["training", name, str(file), str(quick)], group)
            limit = LIMIT if group is not None else None
            return found | {"file": size, "limit": limit, "refused": refusals(group)}
    finally:
        file.unlink()


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """A control group whose processes may use so many bytes, page cache included; None where none can be made."""
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


def refusals(group: Path | None) -> int | None:
    """How many times the group wanted more memory than it may use, and pages had to be given up."""
    return None if group is None else int((group / "memory.failcnt").read_text())


def inside(arguments: list[str], group: Path | None = None) -> ResolvedPlugin:
    """What this program finds in a process of its own, in a control group if there is one."""
    tasks = None if group is None else str(group / "cgroup.procs")
    entered = f"open({tasks!r}, 'w').write('0'); " if tasks else ""
    program = f"{entered}import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__inside__')"
    said = subprocess.run(
        [sys.executable, "-c", program, __file__, *arguments], stdout=subprocess.PIPE, check=True, text=True
    )
    found: ResolvedPlugin = json.loads(said.stdout.splitlines()[-1])
    return found


def random_images(file: Path, name: str, size: int) -> None:
    """A prepared file of about so many bytes."""
    work = WORK[name]
    shape = work["channels"], work["resolution"], work["resolution"]
    count = max(4 * BATCH, size // (shape[0] * shape[1] * shape[2]))
    randomness = torch.Generator().manual_seed(0)
    chunk = torch.randint(0, 256, (min(count, 1024), *shape), generator=randomness, dtype=torch.uint8)

    def chunks() -> Iterator[tuple[torch.Tensor, None]]:
        for begin in range(0, count, len(chunk)):
            yield chunk[: count - begin], None

    card = {"format": "gankit-images-1", "class_names": [], "source": "random", "note": ""}
    write_prepared(file, chunks(), count, shape[:2], card)
    forget(file)


def forget(file: Path) -> None:
    """Lets the system drop what it keeps of a file in memory; whoever reads it next is charged for it. Linux's."""
    with open(file, "rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def game_of(name: str, dataset: Dataset, seed: int = 0) -> TrainingRun:
    """DCGAN of small width, on the CPU. The seed decides in which order images come."""
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
    work = WORK[name]
    shape = IN_MEMORY, work["channels"], work["resolution"], work["resolution"]
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Dataset(work["channels"], work["resolution"], (), lambda: (images, None))


def playing(run: TrainingRun, iterations: int) -> Callable[[], None]:
    def play() -> None:
        for _ in range(iterations):
            train_iteration(run)

    return play


def gathering(run: TrainingRun, iterations: int) -> Callable[[], None]:
    """So many iterations from a file. They end when as many batches have been gathered as they use: none is gathered
    in another loop's turn."""
    source = run.batches
    assert isinstance(source, PrefetchedBatches)
    # As many as wait, and as many in the thread's hands.
    gather, gathered, wanted = source.batches.next_several, 0, 2 * source.depth

    def plural(count: int) -> list[BatchAndState]:
        nonlocal gathered
        batches = gather(count)
        gathered += count
        return batches

    source.batches.next_several = plural  # type: ignore[method-assign]

    def play() -> None:
        nonlocal wanted
        for _ in range(iterations):
            train_iteration(run)
        wanted += iterations * len(default_step_order(run))
        while gathered < wanted:
            time.sleep(0.0001)

    return play


def play_from_file(name: str, file: str, quick: bool) -> ResolvedPlugin:
    """In a process of its own: turns of the same game from the file and from memory, two copies of each."""
    iterations = 2 if quick else WORK[name]["iterations"]
    loops = {}
    for copy in range(2):
        # Each in an order of its own: none finds in memory what the other has just read.
        loops[f"file {copy}"] = gathering(game_of(name, read_prepared(Path(file)), seed=copy), iterations)
        loops[f"memory {copy}"] = playing(game_of(name, in_memory(name), seed=copy), iterations)
    # Read through once, so that no memory is left that would first have to fill.
    with open(file, "rb", buffering=0) as opened:
        while opened.read(MIB):
            pass
    before = bytes_read()
    each = interleaved(loops, 2 if quick else ROUNDS, warm_up=1)
    both = each.together({"file": ["file 0", "file 1"], "memory": ["memory 0", "memory 1"]})
    return {
        "slower": both.ratio("file", "memory"),
        "slower_cpu": both.ratio("file", "memory", "cpu"),
        "control": each.ratio("memory 1", "memory 0"),
        "trouble": trouble(each, "memory 1", "memory 0"),
        "milliseconds": each.milliseconds("memory 0") / iterations,
        "read": bytes_read() - before,
    }


def trouble(rounds: Rounds, one: str, other: str) -> str | None:
    """Why a measurement does not count. Whether the cores were busy is asked of memory's turns: who reads may wait.

    Args:
        rounds: of the measurement.
        one, other: the two that should be alike.
    """
    in_memory = rounds.together({name: [name] for name in (one, other)})
    return in_memory.trouble(in_memory.ratio(one, other))


def bytes_read() -> int:
    """From disk, by this process so far."""
    return int(Path("/proc/self/io").read_text().split("read_bytes:")[1].split()[0])


# The first epoch, when nothing of the file is in memory.


COLD = ("ahead", "touched")


def first_epoch(top: Path, name: str, quick: bool) -> ResolvedPlugin:
    """Each way has a file of its own: pages that another has mapped are not forgotten."""
    folder = top / "cold"
    folder.mkdir()
    try:
        for way in COLD:
            random_images(folder / way, name, 8 * MIB if quick else COLD_FILE)
        return inside(["cold", name, str(folder), str(quick)])
    finally:
        shutil.rmtree(folder)


def play_cold(name: str, folder: str, quick: bool) -> ResolvedPlugin:
    """In a process of its own: the first iterations from files that are not in memory, and as many from memory."""
    iterations = 2 if quick else WORK[name]["first"]
    runs = {way: game_of(name, in_memory(name)) for way in (*COLD, "memory", "control")}
    read = dict.fromkeys(runs, 0)
    turns = 2 if quick else COLD_ROUNDS

    def first_iterations(way: str) -> Callable[[], None]:
        play = playing(runs[way], iterations)

        def plural() -> None:
            before = bytes_read()
            play()
            batches = runs[way].batches
            assert batches is not None
            batches.close()
            read[way] += bytes_read() - before

        return plural

    rounds = interleaved(
        {way: first_iterations(way) for way in runs},
        turns,
        warm_up=1,
        before={way: from_disk(runs[way], Path(folder) / way, ahead=way == "ahead") for way in COLD},
    )
    size = os.path.getsize(Path(folder) / COLD[0])
    # As much as the rows have bytes, if the disk was asked at all.
    asked = iterations * BATCH * WORK[name]["channels"] * WORK[name]["resolution"] ** 2
    each = {way: read[way] / (turns + 1) for way in COLD}
    warm = [way for way in COLD if each[way] < min(asked, size) / 2]
    return {
        "iterations": iterations,
        "file": size,
        "ahead": rounds.ratio("ahead", "memory"),
        "touched": rounds.ratio("touched", "memory"),
        "control": rounds.ratio("control", "memory"),
        "read": each,
        "trouble": "the disk was hardly asked" if warm else trouble(rounds, "control", "memory"),
    }


def from_disk(run: TrainingRun, file: Path, ahead: bool) -> Callable[[], None]:
    """What has a game read a file of which nothing is in memory, in another order each time.

    Args:
        game: its batches are those of the file from then on.
        file: a prepared one.
        ahead: whether batches are gathered before they are asked for; else each page is read when it is touched, with
            what the system brings along.
    """
    seeds = itertools.count()

    def begin_anew() -> None:
        # Pages that are mapped are not forgotten.
        run.batches = None
        forget(file)
        images, labels = read_prepared(file).load()
        run.batches = batches = make_batch_source(images, labels, run.device, BATCH, 0, next(seeds), ahead)
        if isinstance(batches, Batches):
            # Nothing is asked of the disk before it is touched.
            batches.mapped = False

    return begin_anew


# Preparing.


def preparing(top: Path, quick: bool) -> ResolvedPlugin:
    """Peak memory by the number of images, and the time of one core and of all, Python's start left out."""
    counts = [number // 100 for number in PREPARED[:2]] if quick else list(PREPARED)
    folders = {count: top / str(count) for count in counts}
    draw_images(folders)
    prepared(folders[counts[0]], top)  # writes the bytecode
    runs: ResolvedPlugin = {str(count): prepared(folders[count], top) for count in counts}
    few, many = counts[-3:-1] if len(counts) > 2 else counts
    seconds: dict[str, list[float]] = {"one": [], "all": []}
    for number in range(1 if quick else PAIRS):
        for way in list(seconds)[:: -1 if number % 2 else 1]:
            both = [prepared(folders[count], top, alone=way == "one")["seconds"] for count in (few, many)]
            seconds[way].append(both[1] - both[0])
    ratios = [all_cores / one for all_cores, one in zip(seconds["all"], seconds["one"], strict=True)]
    return {
        "runs": runs,
        "cores": cores(),
        "few": few,
        "many": many,
        "all_to_one": [min(ratios), statistics.median(ratios), max(ratios)],
        "per_second": {way: (many - few) / statistics.median(taken) for way, taken in seconds.items()},
    }


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def draw_images(folders: dict[int, Path]) -> None:
    """PNG files in class folders: the smaller collections are links to the first of the largest."""
    largest = max(folders)
    generator = torch.Generator().manual_seed(0)
    for number in range(largest):
        name = Path(f"class{number // IN_A_FOLDER:03d}") / f"{number:07d}.png"
        if number % IN_A_FOLDER == 0:
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


def prepared(folder: Path, top: Path, alone: bool = False) -> ResolvedPlugin:
    """`gankit prepare` as a command, on one core or on all: its seconds and the most memory that its process took."""
    out = top / "prepared.safetensors"
    where = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" if alone else ""
    settings = [f"path={folder}", f"resolution={SIDE}"]
    begun = time.perf_counter()
    said = subprocess.run(
        [sys.executable, "-c", where + PREPARE, "prepare", "images", "--out", str(out), *settings],
        env=environment(top / "bytecode"),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    seconds = time.perf_counter() - begun
    out.unlink()
    return {"seconds": seconds, "peak": int(said.stdout.split("peak ")[1])}


PREPARE = """
from gankit.cli import main
from gankit.runtime.peak_memory import peak_of_process
try:
    main()
finally:
    print("peak", peak_of_process())
"""
"""The command, which tells at its end how much memory its own process took at most; those that decode are apart."""


def section(found: ResolvedPlugin) -> str:
    """What was found, for the page."""
    lines = [
        "## Data",
        "",
        f"`python benchmarks/data.py`, {found['machine']}. DCGAN of small width on the CPU, batches of {BATCH}. Times "
        "are ratios to the same game played from memory in the same process, in turn, with the rounds' quartiles.",
        "",
        "From a prepared file that does not fit into memory, "
        + ("read from the disk in random order" if all_limited(found) else "which could not be shown here")
        + "; two copies of each game, timed together, each in an order of its own, and a turn ends when as much is "
        "gathered ahead as when it began. "
        f"The target is {TARGET} at most:",
        "",
        "| images | file | memory allowed | in memory, an iteration | from the file | control |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found["training"].items():
        lines.append(
            f"| {name} | {one['file'] / MIB:.0f} MiB | {allowed(one)} | {one['milliseconds']:.1f} ms | "
            f"{Ratio(*one['slower'])} | {Ratio(*one['control'])} |"
        )
    lines.append("")
    for name, one in found["training"].items():
        if one["trouble"]:
            lines.append(f"The measurement of {name} does not count: {one['trouble']}.")
        else:
            lines.append(f"The target is {'met' if one['slower'][0] <= TARGET else 'missed'} with {name}.")
    if not all_limited(found):
        lines.append("No control group could be made (that takes root): the files may have been in memory.")
    lines += [
        "",
        "The first iterations from a file of which nothing is in memory, but which fits. Here a turn begins with "
        "nothing gathered ahead, and gathers a few batches that it does not use. *Read* is what came from the disk "
        "in a turn; touched without advice, a page brings its neighbours along:",
        "",
    ]
    lines += ["| images | iterations | gathered ahead | read | touched as training comes to it | read | control |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for name, one in found["cold"].items():
        ways = [f"{Ratio(*one[way])} | {one['read'][way] / MIB:.1f} MiB" for way in COLD]
        lines.append(f"| {name} | {one['iterations']} | {' | '.join(ways)} | {Ratio(*one['control'])} |")
    lines.append("")
    for name, one in found["cold"].items():
        if one["trouble"]:
            lines.append(f"The measurement of {name} does not count: {one['trouble']}.")
    made = found["preparing"]
    low, median, high = made["all_to_one"]
    lines += [
        "",
        f"`gankit prepare` of PNG files of {SIDE}x{SIDE}:",
        "",
        "| images | peak memory of the command, decoders apart | seconds, start included |",
        "| --- | --- | --- |",
        *(
            f"| {int(count):,} | {run['peak'] / MIB:.0f} MiB | {run['seconds']:.1f} |"
            for count, run in made["runs"].items()
        ),
        "",
        f"On one core it prepares {made['per_second']['one']:.0f} images a second, on {made['cores']} "
        f"{made['per_second']['all']:.0f}; all take {median:.2f} of the time of one ({low:.2f} to {high:.2f} in "
        f"{PAIRS} pairs). That is the time of {made['many']:,} images less that of {made['few']:,}, without the start.",
    ]
    return "\n".join(lines) + "\n"


def all_limited(found: ResolvedPlugin) -> bool:
    return all(one["limit"] is not None for one in found["training"].values())


def allowed(one: ResolvedPlugin) -> str:
    if one["limit"] is None:
        return "all"
    return f"{one['limit'] / MIB:.0f} MiB, too little {one['refused']} times"


if __name__ == "__inside__":
    what, name, file, quick = sys.argv[1:]
    print(json.dumps((play_from_file if what == "training" else play_cold)(name, file, quick == "True")))

if __name__ == "__main__":
    command_line(__doc__, measure, section)
