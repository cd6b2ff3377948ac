"""Each default of gankit that affects speed, against its alternative, one at a time.

    python benchmarks/defaults.py

All loops are interleaved in one process with gankit's defaults. The allocator is set for a whole process, so its two
settings are compared in pairs of processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import Ratio, Result, command_line, interleaved, machine, quartiles, table, timed
from workloads import PLUGINS, TINY, benchmark_run, iteration_of

from gankit.training.run import TrainingRun

WORK: dict[str, tuple[str, list[str], int]] = {
    "DCGAN 28": ("dcgan_mnist", ["train.precision=fp32"], 24),
    "DCGAN 64": ("dcgan_mnist", ["train.precision=fp32", "data.resolution=64", "data.channels=3"], 16),
    "WGAN-GP 28": ("wgan_gp_mnist", ["train.precision=fp32"], 24),
    "IGAN_vN 28": ("igan_vn_mnist", ["train.precision=fp32"], 16),
}
"""Workloads: a bundled recipe, its overrides, and the number of rounds."""

LARGE = ("igan_mnist", ["train.precision=fp32", "data.resolution=96", "data.channels=3", "train.batch_size=32"])
"""Workload that allocates large blocks."""


@dataclass(frozen=True)
class Alternative:
    """Alternative to a default."""

    default: str
    """Default of gankit."""

    overrides: tuple[str, ...] = ()
    change: Callable[[TrainingRun], None] = lambda run: None
    threads: int | None = None
    not_for: tuple[str, ...] = ()
    """Workloads that it does not support, or whose result it would change."""


def adam(**options: Any) -> Callable[[TrainingRun], None]:
    """Return a change to another implementation of Adam, with the same settings."""

    def change(run: TrainingRun) -> None:
        for player, optimizer in run.optimizers.items():
            settings = {name: optimizer.defaults[name] for name in ("lr", "betas", "eps")}
            run.optimizers[player] = torch.optim.Adam(run.parameters[player], **settings, **options)

    return change


def zero_in_place(run: TrainingRun) -> None:
    """Set gradients to zero instead of to None."""
    for optimizer in run.optimizers.values():
        optimizer.zero_grad = partial(optimizer.zero_grad, set_to_none=False)  # type: ignore[method-assign]


def trick(name: str) -> tuple[str, ...]:
    """Return the override that activates a plugin of the benchmarks."""
    return (f"tricks.alternative.use={PLUGINS}:{name}",)


SECOND_DERIVATIVES = ("WGAN-GP 28", "IGAN_vN 28")
BATCH_NORM_IN_D = ("DCGAN 28", "DCGAN 64")

ONE_PASS = "real and generated images in one pass of D"
ALTERNATIVES = {
    "defaults again (control)": Alternative(""),
    "channels_last off": Alternative("`train.channels_last`, on", ("train.channels_last=false",)),
    "D not frozen in the G step": Alternative("always frozen", trick("NotFrozen")),
    "Adam, foreach": Alternative("fused", change=adam(foreach=True)),
    "Adam, parameter by parameter": Alternative("fused", change=adam(foreach=False)),
    "gradients zeroed in place": Alternative("set to None, the default of torch", change=zero_in_place),
    ONE_PASS: Alternative("two passes, correct for all layers of D", trick("OnePass"), not_for=BATCH_NORM_IN_D),
    "torch.compile of both networks": Alternative("not compiled", trick("Compiled"), not_for=SECOND_DERIVATIVES),
    "one thread": Alternative("one for each core, the default of torch; `OMP_NUM_THREADS`", threads=1),
    "bf16": Alternative("`train.precision`, fp32: gradients differ in bf16", ("train.precision=bf16",)),
}
CONTROL = "defaults again (control)"
QUICK = (CONTROL, "D not frozen in the G step", "Adam, foreach")


def measure(quick: bool) -> Result:
    result: Result = {"machine": machine(), "work": {}}
    for name, (recipe, overrides, rounds) in list(WORK.items())[: 1 if quick else None]:
        if quick:
            overrides, rounds = [*overrides, *TINY], 2
        loops = {"gankit": threaded(iteration_of(benchmark_run(recipe, overrides)), None)}
        for way, alternative in ALTERNATIVES.items():
            if name in alternative.not_for or (quick and way not in QUICK):
                continue
            run = benchmark_run(recipe, [*overrides, *alternative.overrides])
            alternative.change(run)
            loops[way] = threaded(iteration_of(run), alternative.threads)
        taken = interleaved(loops, rounds, repeats=1 if quick else half_a_second(loops["gankit"]))
        control = taken.ratio(CONTROL, "gankit")
        result["work"][name] = {
            "milliseconds": taken.milliseconds("gankit"),
            "ratios": {way: taken.ratio(way, "gankit") for way in loops if way != "gankit"},
            "rounds": rounds,
            # One of the alternatives uses a single core, so only the defaults are checked for busy cores.
            "invalid": taken.summed({"gankit": ["gankit"]}).invalid(control),
        }
    result["allocator"] = {"pairs": 0, "ratios": [1.0]} if quick else allocator(3)
    return result


def half_a_second(loop: Callable[[], None]) -> int:
    """Return the number of calls that take half a second."""
    loop()
    return max(1, round(0.5 / timed(loop, 1)[0]))


def threaded(loop: Callable[[], None], threads: int | None) -> Callable[[], None]:
    """Return the loop with a number of threads, or torch's default with None."""
    default = torch.get_num_threads()

    def with_threads() -> None:
        torch.set_num_threads(threads or default)
        loop()

    return with_threads


def allocator(pairs: int) -> Result:
    """Compare processes with and without `keep_freed_memory`, in pairs."""
    ratios = []
    for number in range(pairs):
        order = [True, False] if number % 2 else [False, True]
        seconds = {keep: seconds_in_process(keep) for keep in order}
        ratios.append(seconds[True] / seconds[False])
    return {"pairs": pairs, "ratios": ratios}


def seconds_in_process(keep: bool) -> float:
    """Return the time in seconds of an iteration in a process of its own."""
    recipe, overrides = LARGE
    settings = [*overrides, f"train.keep_freed_memory={str(keep).lower()}"]
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from timing import timed; "
        "from workloads import benchmark_run, iteration_of; "
        "loop = iteration_of(benchmark_run(sys.argv[2], json.loads(sys.argv[3]))); "
        "timed(loop, 2); print(timed(loop, 3)[0])"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), recipe, json.dumps(settings)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 3


def section(found: Result) -> str:
    work = found["work"]
    lines = [
        "## Defaults and alternatives",
        "",
        "Time of an iteration with one alternative over that with gankit's defaults: channels_last, D frozen in the G "
        "step, fused Adam, gradients set to None, one pass of D over the real and one over the generated images, no "
        "compilation, all cores, float32. Above 1, the default is faster. Median of the ratios within rounds, with "
        "quartiles. Networks of the recipes `dcgan_mnist`, `wgan_gp_mnist` and `igan_vn_mnist`, "
        f"on {found['machine']}.",
        "",
    ]
    rows = []
    for way, alternative in ALTERNATIVES.items():
        cells = [Ratio(*row["ratios"][way]) if way in row["ratios"] else "" for row in work.values()]
        rows.append([way, *cells, alternative.default])
    lines += table(["alternative", *work, "default"], rows)
    took = ", ".join(f"{name} {row['milliseconds']:.0f} ms ({row['rounds']} rounds)" for name, row in work.items())
    memory = quartiles(found["allocator"]["ratios"])
    lines += [
        "",
        f"Time of an iteration with the defaults: {took}.",
        "",
        "`keep_freed_memory` makes glibc's allocator keep freed memory and is on by default. IGAN at 96x96 (32 images, "
        f"float32) takes {memory.median:.2f} ({memory.low:.2f} to {memory.high:.2f}) of the time without it, over "
        f"{found['allocator']['pairs']} pairs of processes.",
        "",
        "A cell is empty where the alternative would change the result or is not possible: in one pass, batch norm in "
        "D would mix the statistics of real and generated images, and `torch.compile` cannot differentiate twice.",
    ]
    if one_pass := [row["ratios"][ONE_PASS][0] for row in work.values() if ONE_PASS in row["ratios"]]:
        lines += [
            "",
            f"One pass of D takes {' and '.join(f'{ratio:.3f}' for ratio in one_pass)} of the time of two passes. It "
            "is not the default, because it changes the algorithm if a layer of D depends on the whole batch.",
        ]
    invalid = [f"{name}: {row['invalid']}" for name, row in work.items() if row["invalid"] is not None]
    if invalid:
        lines += ["", f"Measurements that are not valid: {'; '.join(invalid)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line(__doc__, measure, section)
