"""How soon a run begins, how much memory it takes at most, and what its checkpoints cost.

    python benchmarks/startup.py [--json FOUND.json] [--quick]

Start-up and memory are of whole processes, which take turns. MNIST is looked for in $GANKIT_DATA; without it only
the recipes that draw their own data are looked at. Memory is Linux's count, and images for it are drawn at random.
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
from timing import ResolvedPlugin, command_line, machine

from gankit import InputError, Recipe
from gankit.cli.recipes import show
from gankit.recipe.bundled import bundled_recipes, find_recipe
from gankit.sampling.grid import GridSampler
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.loop import Clock, check_finite, log, save
from gankit.training.reporter import Reporter
from gankit.training.run import TrainingRun
from gankit.training.update import train_iteration

HELP_WITHIN = 0.3
FIRST_WITHIN = 3.0
MEMORY_WITHIN = 1.1
CHECKPOINTS_WITHIN = 0.02

STARTED = ("igan_vn", "dcgan_mnist", "wgan_gp_mnist", "igan_vn_mnist")
HERE = Path(__file__).parent
IMPORT_TORCH = (sys.executable, "-c", "import torch; print('imported')")

WORKS: dict[str, tuple[str, int]] = {
    "DCGAN, 28x28": ("dcgan", 28),
    "WGAN-GP, 28x28": ("wgan_gp", 28),
    "IGAN_vN, 28x28": ("igan_vn", 28),
    "DCGAN, 64x64": ("dcgan", 64),
}
"""The loops of memory_by_hand.py, and the images' side."""

ITERATIONS = 4
"""Of each run whose memory is looked at: by the third no more is asked for."""


def measure(quick: bool) -> ResolvedPlugin:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # To write the bytecode anew takes longer than to see that all works.
        variables = dict(os.environ) if quick else environment(place / "bytecode")
        return {
            "machine": machine(),
            "help": help_seconds(variables, 1 if quick else 15),
            "first": first_iterations(STARTED[:1] if quick else STARTED, variables, place, 1 if quick else 5),
            "stages": {name: stages(name, variables) for name in ready(STARTED[:0] if quick else STARTED)},
            "memory": peaks(dict(list(WORKS.items())[:1]) if quick else WORKS, variables, place, quick),
            "checkpoints": checkpoint_costs(
                ["gaussian_ring"] if quick else list(bundled_recipes()), place, 2 if quick else 4
            ),
        }


def help_seconds(variables: dict[str, str], processes: int) -> list[float]:
    command = [*GANKIT, "--help"]
    seconds_of(command, variables)  # writes the bytecode
    return [seconds_of(command, variables) for _ in range(processes)]


def first_iterations(
    names: tuple[str, ...], variables: dict[str, str], place: Path, rounds: int
) -> dict[str, list[float]]:
    """Seconds until torch is imported, and again as the control, and until recipes have played an iteration.

    The line of log.jsonl that `output.log_every=1` makes of the first iteration is shown as soon as that is over.
    """
    commands: dict[str, tuple[list[str], str]] = {
        "torch": ([*IMPORT_TORCH], "imported"),
        "torch again": ([*IMPORT_TORCH], "imported"),
    }
    for name in ready(names):
        out = f"output.directory={json.dumps(str(place / 'runs'))}"
        commands[name] = ([*GANKIT, "run", name, "--quiet", out, "output.log_every=1"], "1/")
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(-1 if rounds > 1 else 0, rounds):
        first = number % len(commands)
        order = list(commands)[first:] + list(commands)[:first]
        for name in order:
            seconds = seconds_until(*commands[name], variables)
            # The first round writes the bytecode.
            if number >= 0:
                found[name].append(seconds)
    return found


def ready(names: tuple[str, ...] | list[str]) -> list[str]:
    """Those of the recipes that come with gankit whose data is here."""
    return [name for name in names if assembled(name) is not None]


def assembled(name: str) -> TrainingRun | None:
    try:
        recipe = Recipe.load(find_recipe(name))
        prepare_torch(recipe)
        return assemble(recipe)
    except InputError:
        return None


def stages(name: str, variables: dict[str, str]) -> dict[str, float]:
    """Seconds of each stage, in one process."""
    command = [sys.executable, str(HERE / "startup_stages.py"), name]
    found: dict[str, float] = json.loads(output_of(command, variables))
    return found


def peaks(
    works: dict[str, tuple[str, int]], variables: dict[str, str], place: Path, quick: bool
) -> dict[str, dict[str, int]]:
    """Bytes at most of `gankit run` with its checkpoints and grids, and of the same work by hand."""
    if not sys.platform.startswith("linux"):
        return {}
    found: dict[str, dict[str, int]] = {}
    for work, (loop, side) in works.items():
        # At 64x64 as many images would be most of the memory and hide the rest.
        count = 200 if quick else 60_000 if side == 28 else 10_000
        images, labels = random_images(place / f"mnist-{count}", count)
        by_hand = [sys.executable, str(HERE / "memory_by_hand.py"), loop, str(images), str(labels)]
        by_hand += ["--resolution", str(side), "--iterations", str(ITERATIONS)]
        commands = {
            "gankit": [sys.executable, "-c", PEAK_OF_COMMAND, *run_of(f"{loop}_mnist", side, images.parent, place)],
            "by hand": by_hand,
        }
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
"""What the command `gankit` does, and then its peak, report.html included."""


def run_of(recipe: str, side: int, images: Path, place: Path) -> list[str]:
    every = [f"output.{what}_every=2" for what in ("log", "sample", "checkpoint")]
    data = [f"data.folder={json.dumps(str(images))}", f"data.resolution={side}"]
    out = f"output.directory={json.dumps(str(place / 'runs'))}"
    return ["run", recipe, "--quiet", f"train.iterations={ITERATIONS}", "train.precision=fp32", *every, *data, out]


def random_images(folder: Path, count: int) -> tuple[Path, Path]:
    """Files laid out as MNIST's are, of noise: what they show takes no more memory and no less."""
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    if not images.exists():
        folder.mkdir()
        pixels = torch.randint(0, 256, (count * 28 * 28,), generator=torch.Generator().manual_seed(0))
        images.write_bytes(struct.pack(">IIII", 0x803, count, 28, 28) + bytes(pixels.to(torch.uint8).numpy()))
        labels.write_bytes(struct.pack(">II", 0x801, count) + bytes(k % 10 for k in range(count)))
    return images, labels


def checkpoint_costs(names: list[str], place: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Of recipes that come with gankit, with the intervals that stand in them."""
    found = {}
    for name in names:
        run = assembled(name)
        if run is not None:
            run.load_data()
            found[name] = checkpoint_cost(run, place / "checkpoints" / name, rounds)
    return found


def checkpoint_cost(run: TrainingRun, path: Path, rounds: int) -> dict[str, Any]:
    """Seconds of an iteration, and of what is written now and then, round by round.

    An iteration is timed thrice in each round, since it follows what has just emptied the caches.
    """
    directory = RunDir.create(run.recipe, path)
    grids, clock, silent = GridSampler(run), Clock(run), Reporter()
    run.start()
    acts: dict[str, Callable[[], object]] = {
        "iteration": lambda: [train_iteration(run) for _ in range(3)],
        "checkpoint": lambda: save(run, directory),
        "grid": lambda: show(run, directory, grids, silent),
        "log": lambda: (check_finite(run), log(run, directory, clock.row())),
    }
    seconds: dict[str, list[float]] = {act: [] for act in acts}
    for number in range(-1, rounds):
        for act, do in acts.items():
            began = time.perf_counter()
            do()
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
    """Of the time of the iterations between two of a kind, the median over the rounds."""
    seconds = cost["seconds"]
    return {
        what: statistics.median(
            taken / (every * iteration) for taken, iteration in zip(seconds[what], seconds["iteration"], strict=True)
        )
        for what, every in cost["every"].items()
    }


def section(found: ResolvedPlugin) -> str:
    parts = [
        "## Start-up, memory and checkpoints",
        f"On {found['machine']}. Processes take turns, from bytecode that is up to date, as pip leaves it.",
        *_start_up(found),
        *_stages(found["stages"]),
        *_memory(found["memory"]),
        *_checkpoints(found["checkpoints"]),
    ]
    return "\n\n".join(parts) + "\n"


def _start_up(found: ResolvedPlugin) -> list[str]:
    helps, first = found["help"], found["first"]
    control = [b / a for a, b in zip(first["torch"], first["torch again"], strict=True)]
    rows = [
        "| from the command to | seconds | beyond torch's import | wanted |",
        "| --- | --- | --- | --- |",
        f"| `gankit --help`'s end | {_spread(helps)} | | {_verdict(statistics.median(helps), HELP_WITHIN)} |",
        f"| torch imported, `python -c 'import torch'` | {_spread(first['torch'])} | | |",
    ]
    for name in [name for name in first if not name.startswith("torch")]:
        beyond = [mine - torchs for mine, torchs in zip(first[name], first["torch"], strict=True)]
        verdict = _verdict(statistics.median(beyond), FIRST_WITHIN)
        rows.append(
            f"| `gankit run {name}`'s first iteration's end | {_spread(first[name])} | {_spread(beyond)} | {verdict} |"
        )
    return [
        "### Start-up",
        "\n".join(rows),
        f"Medians of {len(first['torch'])} processes ({len(helps)} for the help), quartiles in brackets, measured from "
        "outside: the run is over its first iteration when it shows the line that `output.log_every=1` makes of it. "
        "What is wanted of a run is wanted beyond torch's import. Seconds of processes are no ratios of turns: torch's "
        f"import against itself is {statistics.median(control):.2f} ({_quartiles(control)}), and so inexact are these.",
    ]


def _stages(stages: dict[str, dict[str, float]]) -> list[str]:
    if not stages:
        return []
    names = list(stages)
    rows = [f"| stage | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for stage in stages[names[0]]:
        rows.append(f"| {stage} | {' | '.join(f'{stages[name][stage]:.2f}' for name in names)} |")
    return [
        "Where the seconds go, from within, without the interpreter's start:",
        "\n".join(rows),
        "`torch._dynamo` is a compiler that nothing here uses. `torch.optim` imports it with its first optimiser, in a "
        "hand-written loop too, so it counts as gankit's start-up above though it is none of gankit's.",
    ]


def _memory(memory: dict[str, dict[str, int]]) -> list[str]:
    if not memory:
        return ["### Memory", "Not measured: the peak is read from Linux."]
    rows = ["| work | gankit | by hand | ratio | wanted |", "| --- | --- | --- | --- | --- |"]
    for work, peaks in memory.items():
        mine, other = peaks.values()
        rows.append(
            f"| {work} | {mine / 2**20:.0f} MiB | {other / 2**20:.0f} MiB | {mine / other:.2f} | "
            f"{_verdict(mine / other, MEMORY_WITHIN)} |"
        )
    return [
        "### Memory",
        "\n".join(rows),
        "The peak of a whole process, libraries and images included. gankit's is of the command, with its checkpoints, "
        "grids and report; the other's of the shortest loop in plain torch that writes nothing at all "
        "(`benchmarks/memory_by_hand.py`), in float32 both. Freed memory is kept for the next iteration by gankit, and "
        "given back by the other as glibc's ways are.",
    ]


def _checkpoints(costs: dict[str, dict[str, Any]]) -> list[str]:
    rows = ["| recipe | iteration | checkpoint | its size | share | grids | log | all three | wanted |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name, cost in costs.items():
        share = shares(cost)
        milliseconds = {what: 1000 * statistics.median(of) for what, of in cost["seconds"].items()}
        rows.append(
            f"| {name} | {milliseconds['iteration']:.0f} ms | {milliseconds['checkpoint']:.0f} ms | "
            f"{cost['bytes'] / 1e6:.1f} MB | {share['checkpoint']:.2%} | {share['grid']:.2%} | {share['log']:.2%} | "
            f"{sum(share.values()):.2%} | {_verdict(share['checkpoint'], CHECKPOINTS_WITHIN, '.0%')} |"
        )
    return [
        "### Checkpoints, grids and the log",
        "\n".join(rows),
        "Shares of the time of the iterations between two, at the intervals that the recipes have. A checkpoint counts "
        "with all that `save` does: the check for NaN, checksums, forcing it to disk, the generator's own file, and "
        "removing the oldest.",
    ]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({_quartiles(values)})"


def _quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{low:.2f} to {high:.2f}"


def _verdict(value: float, within: float, form: str = "g") -> str:
    return f"{'<' if value <= within else 'MISSED: <'} {within:{form}}"


if __name__ == "__main__":
    command_line(__doc__, measure, section)
