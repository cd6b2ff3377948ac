"""Start-up time, peak memory, and the cost of checkpoints.

    python benchmarks/startup.py [--json RESULT.json] [--quick]

Start-up and memory are measured on whole processes, interleaved. MNIST is read from $GANKIT_DATA. Without it, only the
recipes that need no files are measured. Memory is measured on Linux only, with random images.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from processes import GANKIT, environment, output_of, seconds_of, seconds_until
from timing import Result, command_line, machine, quartiles, table

from gankit import InputError, Recipe
from gankit.recipe.bundled import bundled_recipes, find_recipe
from gankit.sampling.grid import GridSampler
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.loop import Clock, check_finite, log, save, save_grid
from gankit.training.run import TrainingRun
from gankit.training.update import train_iteration

HELP_WITHIN = 0.3
FIRST_WITHIN = 3.0
MEMORY_WITHIN = 1.1
CHECKPOINTS_WITHIN = 0.02

STARTED = ("igan_vn", "dcgan_mnist", "wgan_gp_mnist", "igan_vn_mnist")
FOLDER = Path(__file__).parent
IMPORT_TORCH = (sys.executable, "-c", "import torch; print('imported')")

WORK: dict[str, tuple[str, int]] = {
    "DCGAN, 28x28": ("dcgan", 28),
    "WGAN-GP, 28x28": ("wgan_gp", 28),
    "IGAN_vN, 28x28": ("igan_vn", 28),
    "DCGAN, 64x64": ("dcgan", 64),
}
"""Loops of memory_by_hand.py, and the side of the images."""

ITERATIONS = 4
"""Iterations of each run whose memory is measured. The peak no longer grows after the third."""


def measure(quick: bool) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # Writing the bytecode would take longer than the tiny version itself.
        variables = dict(os.environ) if quick else environment(place / "bytecode")
        return {
            "machine": machine(),
            "help": help_seconds(variables, 1 if quick else 15),
            "first": first_iterations(STARTED[:1] if quick else STARTED, variables, place, 1 if quick else 5),
            "memory": peaks(dict(list(WORK.items())[:1]) if quick else WORK, variables, place, quick),
            "checkpoints": checkpoint_costs(
                ["gaussian_ring"] if quick else list(bundled_recipes()), place, 2 if quick else 4
            ),
        }


def help_seconds(variables: dict[str, str], processes: int) -> list[float]:
    """Return the time of `gankit --help` in seconds."""
    command = [*GANKIT, "--help"]
    seconds_of(command, variables)  # writes the bytecode
    return [seconds_of(command, variables) for _ in range(processes)]


def first_iterations(
    names: tuple[str, ...], variables: dict[str, str], place: Path, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds until torch is imported, twice as a control, and until recipes have trained one iteration.

    With `output.log_every=1`, a run prints a line as soon as its first iteration ends.
    """
    commands = dict.fromkeys(("torch", "torch again"), ([*IMPORT_TORCH], "imported"))
    for name in [name for name in names if assembled(name) is not None]:
        out = f"output.directory={json.dumps(str(place / 'runs'))}"
        commands[name] = ([*GANKIT, "run", name, "--quiet", out, "output.log_every=1"], "1/")
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(-1 if rounds > 1 else 0, rounds):
        first = number % len(commands)
        for name in list(commands)[first:] + list(commands)[:first]:
            seconds = seconds_until(*commands[name], variables)
            # The first round writes the bytecode.
            if number >= 0:
                found[name].append(seconds)
    return found


def assembled(name: str) -> TrainingRun | None:
    """Return the run of a bundled recipe, or None without its data."""
    try:
        recipe = Recipe.load(find_recipe(name))
        prepare_torch(recipe)
        return assemble(recipe)
    except InputError:
        return None


def peaks(
    works: dict[str, tuple[str, int]], variables: dict[str, str], place: Path, quick: bool
) -> dict[str, dict[str, int]]:
    """Return the peak bytes of `gankit run`, with checkpoints and grids, and of the hand-written loop."""
    if not sys.platform.startswith("linux"):
        return {}
    found: dict[str, dict[str, int]] = {}
    for work, (loop, side) in works.items():
        # At 64x64, as many images would take most of the memory and hide the rest.
        count = 200 if quick else 60_000 if side == 28 else 10_000
        images, labels = random_images(place / f"mnist-{count}", count)
        by_hand = [sys.executable, str(FOLDER / "memory_by_hand.py"), loop, str(images), str(labels)]
        by_hand += ["--resolution", str(side), "--iterations", str(ITERATIONS)]
        gankit = [sys.executable, "-c", PEAK_OF_COMMAND, *arguments_of(f"{loop}_mnist", side, images.parent, place)]
        commands = {"gankit": gankit, "by hand": by_hand}
        found[work] = {name: int(output_of(command, variables).splitlines()[-1]) for name, command in commands.items()}
    return found


PEAK_OF_COMMAND = """
import sys
from gankit.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
from gankit.runtime.peak_memory import peak_of_process
print(peak_of_process())
"""
"""Program that runs a gankit command, report included, and prints its peak memory."""


def arguments_of(recipe: str, side: int, images: Path, place: Path) -> list[str]:
    """Return the arguments of the measured `gankit run`."""
    every = [f"output.{what}_every=2" for what in ("log", "sample", "checkpoint")]
    data = [f"data.folder={json.dumps(str(images))}", f"data.resolution={side}"]
    out = f"output.directory={json.dumps(str(place / 'runs'))}"
    return ["run", recipe, "--quiet", f"train.iterations={ITERATIONS}", "train.precision=fp32", *every, *data, out]


def random_images(folder: Path, count: int) -> tuple[Path, Path]:
    """Write random images and labels in the format of MNIST; return the two files."""
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    if not images.exists():
        folder.mkdir()
        pixels = torch.randint(0, 256, (count * 28 * 28,), generator=torch.Generator().manual_seed(0))
        images.write_bytes(struct.pack(">IIII", 0x803, count, 28, 28) + bytes(pixels.to(torch.uint8).numpy()))
        labels.write_bytes(struct.pack(">II", 0x801, count) + bytes(k % 10 for k in range(count)))
    return images, labels


def checkpoint_costs(names: list[str], place: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the cost of checkpoints, grids and log of bundled recipes, at their own intervals."""
    found = {}
    for name in names:
        run = assembled(name)
        if run is not None:
            run.load_data()
            found[name] = checkpoint_cost(run, place / "checkpoints" / name, rounds)
    return found


def checkpoint_cost(run: TrainingRun, path: Path, rounds: int) -> dict[str, Any]:
    """Return the time in seconds of an iteration and of each act of writing, round by round."""
    directory = RunDir.create(run.recipe, path)
    grids, clock = GridSampler(run), Clock(run)
    run.start()
    acts: dict[str, Callable[[], object]] = {
        # Three iterations: the first follows an act that has emptied the caches.
        "iteration": lambda: [train_iteration(run) for _ in range(3)],
        "checkpoint": lambda: save(run, directory),
        "grid": lambda: save_grid(run, directory, grids),
        "log": lambda: (check_finite(run), log(run, directory, clock.row())),
    }
    seconds: dict[str, list[float]] = {act: [] for act in acts}
    for number in range(-1, rounds):
        for act, function in acts.items():
            began = time.perf_counter()
            function()
            if number >= 0:
                seconds[act].append((time.perf_counter() - began) / (3 if act == "iteration" else 1))
    directory.release()
    output = run.recipe.output
    return {
        "seconds": seconds,
        "every": {"checkpoint": output.checkpoint_every, "grid": output.sample_every, "log": output.log_every},
        "bytes": sum(file.stat().st_size for file in directory.saved_checkpoints()[-1].iterdir()),
    }


def shares(cost: dict[str, Any]) -> dict[str, float]:
    """Return the time of each act as a share of the iterations between two acts: the median over the rounds."""
    seconds = cost["seconds"]
    return {
        what: statistics.median(
            taken / (every * iteration) for taken, iteration in zip(seconds[what], seconds["iteration"], strict=True)
        )
        for what, every in cost["every"].items()
    }


def section(found: Result) -> str:
    parts = [
        "## Start-up, memory and checkpoints",
        f"On {found['machine']}. Processes are interleaved and run from bytecode that is up to date, as after an "
        "installation.",
        *_start_up(found),
        *_memory(found["memory"]),
        *_checkpoints(found["checkpoints"]),
    ]
    return "\n\n".join(parts) + "\n"


def _start_up(found: Result) -> list[str]:
    helps, first = found["help"], found["first"]
    control = [b / a for a, b in zip(first["torch"], first["torch again"], strict=True)]
    rows = table(("from the command to", "seconds", "without torch's import", "target"), [])
    rows += [
        f"| the end of `gankit --help` | {_spread(helps)} | | {_verdict(statistics.median(helps), HELP_WITHIN)} |",
        f"| the import of torch, `python -c 'import torch'` | {_spread(first['torch'])} | | |",
    ]
    for name in [name for name in first if not name.startswith("torch")]:
        beyond = [seconds - of_torch for seconds, of_torch in zip(first[name], first["torch"], strict=True)]
        cells = _spread(first[name]), _spread(beyond), _verdict(statistics.median(beyond), FIRST_WITHIN)
        rows.append(f"| the first iteration of `gankit run {name}` | {' | '.join(cells)} |")
    return [
        "### Start-up",
        "\n".join(rows),
        f"Medians of {len(first['torch'])} processes ({len(helps)} for the help), with quartiles, measured from "
        "outside. The first iteration ends when the run prints the line of `output.log_every=1`. The target of a run "
        "excludes the import of torch. These are not ratios within rounds, so they are less exact: the import of "
        f"torch against itself is {statistics.median(control):.2f} ({_quartiles(control)}).",
    ]


def _memory(memory: dict[str, dict[str, int]]) -> list[str]:
    if not memory:
        return ["### Memory", "Not measured: the peak memory of a process is available on Linux only."]
    rows = []
    for work, of_both in memory.items():
        gankit, by_hand = of_both.values()
        mebibytes = [f"{peak / 2**20:.0f} MiB" for peak in (gankit, by_hand)]
        rows.append([work, *mebibytes, f"{gankit / by_hand:.2f}", _verdict(gankit / by_hand, MEMORY_WITHIN)])
    return [
        "### Memory",
        "\n".join(table(("work", "gankit", "by hand", "ratio", "target"), rows)),
        "Peak memory of a whole process, libraries and images included, in float32. gankit runs the command with its "
        "checkpoints, grids and report. The hand-written loop is in plain torch and writes nothing "
        "(`benchmarks/memory_by_hand.py`). gankit keeps freed memory for the next iteration. The hand-written loop "
        "uses glibc's defaults.",
    ]


def _checkpoints(costs: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for name, cost in costs.items():
        share = shares(cost)
        taken = [f"{1000 * statistics.median(cost['seconds'][what]):.0f} ms" for what in ("iteration", "checkpoint")]
        of_iterations = [f"{value:.2%}" for value in (*share.values(), sum(share.values()))]
        verdict = _verdict(share["checkpoint"], CHECKPOINTS_WITHIN, ".0%")
        rows.append([name, *taken, f"{cost['bytes'] / 1e6:.1f} MB", *of_iterations, verdict])
    heads = "recipe", "iteration", "checkpoint", "its size", "share", "grids", "log", "all three", "target"
    return [
        "### Checkpoints, grids and the log",
        "\n".join(table(heads, rows)),
        "Shares of the time of the iterations in between, at the intervals of the recipes. A checkpoint includes the "
        "check for NaN, checksums, the flush to disk, the generator file, and the removal of the oldest checkpoint.",
    ]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({_quartiles(values)})"


def _quartiles(values: list[float]) -> str:
    _, low, high = quartiles(values)
    return f"{low:.2f} to {high:.2f}"


def _verdict(value: float, within: float, form: str = "g") -> str:
    return f"{'<' if value <= within else 'MISSED: <'} {within:{form}}"


if __name__ == "__main__":
    command_line(__doc__, measure, section)
