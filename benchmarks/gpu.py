"""Checks and measurements on a GPU, as one table.

    python benchmarks/gpu.py --out DIR [--only speed,memory,resume,waits,tests]

Writes DIR/gpu.md and DIR/gpu.json. All sections run with this command:

- speed: real images per second of gankit's loop and of the hand-written loop (benchmarks/by_hand.py), interleaved
- memory: peak of the GPU memory that tensors take, of both loops
- resume: a deterministic run that is killed and resumed writes the same bytes as one that is not. Two more runs show
  whether the training repeats exactly, and whether samples affect it
- waits: operations of an iteration that make the CPU wait for the GPU
- tests: the tests with the marker `gpu`

A section that fails is a row with the error. `--device cpu --smoke` runs a tiny version of all sections without a GPU,
as the tests do; its figures mean nothing.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from by_hand import BY_HAND
from timing import Loop, Result, interleaved, parser_of, peak_of_tensors, table, timed
from waits import most_of
from workloads import PLUGINS, TINY, benchmark_run, iteration_of, random_images

from gankit.training.run import TrainingRun

ROOT = Path(__file__).parents[1]

WIDE_DCGAN = ["data.resolution=64", "data.channels=3", "generator.width=128", "discriminator.width=128"]
WORKLOADS: dict[str, tuple[str, list[str]]] = {
    "DCGAN 64": ("dcgan_mnist", WIDE_DCGAN),
    "WGAN-GP 64": ("wgan_gp_mnist", WIDE_DCGAN),
    "IGAN_vN 96": (
        "igan_vn_mnist",
        ["data.resolution=96", "data.channels=3", "generator.channels=64", "discriminator.width=32"],
    ),
}
"""Bundled recipes at the image sizes and widths of the papers."""

SMOKE = ["generator.width=2", "discriminator.width=2"]
PRECISIONS = ("fp32", "bf16")

ROUNDS = 15
ROUND_SECONDS = 0.2
"""Least seconds of a loop in a round."""

WARM_UP = 3
WAIT_ITERATIONS = 10

ITERATIONS, CHECKPOINT_EVERY = 24, 4
"""Length of the run that is killed, and the distance of its checkpoints."""

TIMEOUT = 240.0
"""Seconds for a process that a section starts."""

RUN_TIMES = {"log.jsonl", "environment.json", "report.html", ".lock"}
"""Files of a run that hold times or the number of processes. They differ between equal runs."""


@dataclass(frozen=True)
class Options:
    """Device of the sections, and whether they run their tiny version."""

    device: str = "cuda"
    smoke: bool = False

    def cases(self) -> Iterator[tuple[str, str]]:
        """Return the names of the workloads and the precisions."""
        cases = product(WORKLOADS, PRECISIONS)
        return islice(cases, 1 if self.smoke else None)

    def overrides(self, workload: str, precision: str = "fp32") -> list[str]:
        """Return the settings of a workload."""
        settings = [*WORKLOADS[workload][1], f"train.precision={precision}"]
        return [*settings, *TINY, *SMOKE] if self.smoke else settings

    def run(self, workload: str, precision: str = "fp32") -> TrainingRun:
        """Return a run that is ready for its first iteration."""
        return benchmark_run(WORKLOADS[workload][0], self.overrides(workload, precision), device=self.device)


def row(section: str, case: str, gankit: str = "", by_hand: str = "", result: str = "") -> Result:
    """Return a row of the table."""
    return {"section": section, "case": case, "gankit": gankit, "by hand": by_hand, "result": result}


def speed(options: Options) -> Iterator[Result]:
    """Yield the images per second of gankit and of the hand-written loop, for each workload and precision."""
    for workload, precision in options.cases():
        run = options.run(workload, precision)
        loops = {"gankit": iteration_of(run), "by hand": BY_HAND[WORKLOADS[workload][0]](run)}
        seconds = min(timed(synchronized(loop, WARM_UP, options), 1)[0] / WARM_UP for loop in loops.values())
        repeats = 1 if options.smoke else max(1, round(ROUND_SECONDS / seconds))
        blocks = {name: synchronized(loop, repeats, options) for name, loop in loops.items()}
        rounds = interleaved(blocks, 2 if options.smoke else ROUNDS, warm_up=1)
        train = run.recipe.train
        images = train.batch_size * train.discriminator_steps * repeats
        rates = {name: f"{1000 * images / rounds.milliseconds(name):,.0f} images/s" for name in blocks}
        ratio = rounds.ratio("gankit", "by hand")
        case = f"{workload}, {precision}, batch of {train.batch_size}"
        yield row("speed", case, rates["gankit"], rates["by hand"], f"time of gankit / by hand: {ratio}")


def synchronized(loop: Loop, repeats: int, options: Options) -> Loop:
    """Return a function that calls a loop some times and waits until the device has finished."""

    def block() -> None:
        for _ in range(repeats):
            loop()
        if options.device == "cuda":
            torch.cuda.synchronize()

    return block


def memory(options: Options) -> Iterator[Result]:
    """Yield the peak memory of both loops for each workload and precision."""
    for workload, precision in options.cases():
        makers = {"gankit": iteration_of, "by hand": BY_HAND[WORKLOADS[workload][0]]}
        peaks = {name: peak_of(make, options, workload, precision) for name, make in makers.items()}
        cells = {name: f"{peak / 2**20:,.1f} MiB" for name, peak in peaks.items()}
        ratio = f"gankit / by hand: {peaks['gankit'] / peaks['by hand']:.3f}"
        yield row("memory", f"{workload}, {precision}", cells["gankit"], cells["by hand"], ratio)


def peak_of(make: Callable[[TrainingRun], Loop], options: Options, workload: str, precision: str) -> int:
    """Return the peak of the memory that the tensors of a loop take on the device, weights and images included."""
    if options.device != "cuda":
        return peak_of_tensors(make(options.run(workload, precision)))
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    loop = make(options.run(workload, precision))
    # The first iterations take more: cuDNN tries its algorithms.
    synchronized(loop, WARM_UP, options)()
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    synchronized(loop, 2, options)()
    return torch.cuda.max_memory_allocated() - before


def resume(options: Options) -> Iterator[Result]:
    """Yield how three runs differ from a run of the same recipe, for each workload."""
    for workload in ("DCGAN 64",) if options.smoke else ("DCGAN 64", "IGAN_vN 96"):
        with TemporaryDirectory() as folder:
            yield from compared_runs(workload, options, Path(folder))


def compared_runs(workload: str, options: Options, folder: Path) -> Iterator[Result]:
    """Yield how a killed and resumed run, a repeated run and a run without samples differ from a whole run.

    The repeated run shows whether the training itself is deterministic, and the run without samples whether samples
    affect it.
    """
    settings = [*random_images(options.device), *options.overrides(workload), "train.deterministic=true"]
    settings += [f"train.iterations={ITERATIONS}", "output.log_every=1", f"output.keep_checkpoints={ITERATIONS}"]
    settings += [f"output.{what}_every={CHECKPOINT_EVERY}" for what in ("checkpoint", "sample")]
    settings.append(f"tricks.trace.use={PLUGINS}:Trace")
    traces = folder / "traces"

    def begin(name: str, *more: str) -> subprocess.Popen[str]:
        arguments = ("run", WORKLOADS[workload][0], "--out", str(folder / name), *settings, *more)
        return start_gankit(*arguments, trace=traces / name)

    expect_success(begin("whole"))
    killed_at = kill_after_checkpoint(begin("killed"), folder / "killed", 2 * CHECKPOINT_EVERY)
    expect_success(start_gankit("resume", str(folder / "killed"), trace=traces / "killed"))
    expect_success(begin("repeated"))
    expect_success(begin("bare", f"output.sample_every={2 * ITERATIONS}"))
    for name, case in {
        "killed": f"killed at iteration {killed_at}",
        "repeated": "repeated",
        "bare": "without samples, checkpoints only",
    }.items():
        result = difference(folder / "whole", folder / name, "checkpoints" if name == "bare" else "")
        place = "" if result.startswith("passed") else first_difference(traces / "whole", traces / name)
        yield row("resume", f"{workload}, {case}", result=f"{place}{result}")


def first_difference(expected: Path, found: Path) -> str:
    """Return the first images, gradient or weight whose checksums by `Trace` differ in two runs, as text."""
    sums = read_trace(expected)
    place = next((place for place, value in read_trace(found).items() if sums.get(place) != value), None)
    return f"FAILED, first different: iteration {place}; " if place else ""


def read_trace(folder: Path) -> dict[str, int]:
    """Return the checksums that the processes of a run wrote, in the order of the processes."""
    files = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    return {place: value for path in files for line in path.open() for place, value in json.loads(line).items()}


def difference(expected: Path, found: Path, part: str) -> str:
    """Return how the files of two runs differ whose names start with `part`, and from which iteration on."""
    files, others = ({k: v for k, v in contents(run).items() if k.startswith(part)} for run in (expected, found))
    different = [name for name in sorted(files | others) if files.get(name) != others.get(name)]
    if not different:
        return f"passed, {len(files)} equal files"
    rows, other_rows = losses(expected), losses(found)
    first = next((iteration for iteration in sorted(rows) if rows[iteration] != other_rows.get(iteration)), None)
    return f"FAILED, losses differ from iteration {first} on; different: {', '.join(different)}"


def losses(run: Path) -> dict[int, Any]:
    """Return the losses of a run by iteration."""
    rows = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return {one["iteration"]: one["loss"] for one in rows if "loss" in one}


def start_gankit(*arguments: str, trace: Path) -> subprocess.Popen[str]:
    """Start a gankit command. `trace` is the folder of the plugin `Trace`."""
    command, environment = [sys.executable, "-m", "gankit", *arguments, "--quiet"], os.environ | {"TRACE": str(trace)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def expect_success(process: subprocess.Popen[str]) -> None:
    """Wait for a process. Raise a RuntimeError if it fails or takes too long."""
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise RuntimeError(f"a run took more than {TIMEOUT:g} s") from None
    if process.returncode:
        raise RuntimeError(last_line(output))


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]


def kill_after_checkpoint(process: subprocess.Popen[str], run: Path, iteration: int) -> int:
    """Kill a run once the checkpoint of an iteration exists; return the iteration of its newest checkpoint."""
    end = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < end:
        saved = [int(path.name) for path in (run / "checkpoints").glob("[0-9]*") if path.name.isdigit()]
        if max(saved, default=0) >= iteration:
            process.kill()
            process.communicate()
            return max(saved)
        time.sleep(0.002)
    process.kill()
    output, _ = process.communicate()
    raise RuntimeError(f"the run was not killed in time: {last_line(output)}")


def contents(run: Path) -> dict[str, bytes]:
    """Return the files of a run by name, without those that hold times."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in RUN_TIMES]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def waits(options: Options) -> Iterator[Result]:
    """Yield the number of waits in an iteration of each workload."""
    for workload in dict.fromkeys(workload for workload, _ in options.cases()):
        loop = iteration_of(options.run(workload))
        for _ in range(WARM_UP):
            loop()
        counts = most_of(loop, torch.device(options.device), 2 if options.smoke else WAIT_ITERATIONS)
        places = ", ".join(f"{place} ({count})" for place, count in counts.items())
        result = f"FAILED, waits at {places}" if places else "passed"
        yield row("waits", workload, f"{sum(counts.values())} waits per iteration", result=result)


def tests(options: Options) -> Iterator[Result]:
    """Yield the result of the tests with the marker `gpu`."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    command += ["-n", "0", "--collect-only", "tests/plugins/test_every_plugin.py"] if options.smoke else ["-n", "8"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    summary = last_line(ended.stdout or ended.stderr)
    yield row("tests", "pytest -m gpu", result=f"{'FAILED' if ended.returncode else 'passed'}: {summary}")
    for line in [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))][:20]:
        yield row("tests", line.partition(" - ")[0], result=f"FAILED: {line.partition(' - ')[2]}")


SECTIONS = {"speed": speed, "memory": memory, "resume": resume, "waits": waits, "tests": tests}


def measure_sections(names: Sequence[str], options: Options) -> Result:
    """Run the sections; return the rows and the facts of the machine."""
    rows: list[Result] = []
    for name in names:
        began = time.monotonic()
        try:
            rows.extend(SECTIONS[name](options))
        except Exception as error:
            message = (str(error).strip().splitlines() or [""])[0]
            rows.append(row(name, "error", result=f"FAILED: {type(error).__name__}: {message}"[:300]))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    device = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    return {"device": device, "torch": torch.__version__, "smoke": options.smoke, "rows": rows}


def section(found: Result) -> str:
    """Return the Markdown of a result. An empty result gives the command that produces one."""
    if not found:
        return (
            "## GPU\n\nNot measured: the machine of this page has no GPU. On a machine with a GPU, "
            "`python benchmarks/gpu.py --out DIR` runs all measurements and checks in less than 10 minutes.\n"
        )
    columns = ("section", "case", "gankit", "by hand", "result")
    lines = [
        "## GPU",
        "",
        f"{found['device']}, torch {found['torch']}, `python benchmarks/gpu.py --out DIR`. Ratios are medians of the "
        "ratios within interleaved rounds, with quartiles. Images per second are real images that D is trained on.",
        *(["", "**Tiny version: the figures mean nothing.**"] if found["smoke"] else []),
        "",
    ]
    rows = [[str(found_row[column]).replace("|", "/") for column in columns] for found_row in found["rows"]]
    return "\n".join([*lines, *table(columns, rows)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --smoke")
    parser.add_argument("--smoke", action="store_true", help="run the tiny version, whose figures mean nothing")
    given: Any = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("gpu.py: torch finds no GPU on this machine; use --device cpu --smoke to try the program")
    names = given.only.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"--only: no section {', '.join(unknown)}; the sections are {', '.join(SECTIONS)}")
    found = measure_sections(names, Options(given.device, given.smoke))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (given.out / "gpu.md").write_text(section(found), encoding="utf-8")
    print(section(found))
    if any(found_row["result"].startswith("FAILED") for found_row in found["rows"]):
        raise SystemExit("gpu.py: a check failed; see the table")


if __name__ == "__main__":
    main()
