"""What gankit does unless told otherwise, against the other way, one at a time; and what may be asked for.

    python benchmarks/defaults.py

Everything takes turns in one process with gankit as it comes. Only the allocator is set for a whole process, so its
two ways are two processes at a time, pair by pair.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import Ratio, ResolvedPlugin, command_line, interleaved, machine, timed
from workloads import PARTS, TINY, game_of, iteration_of

from gankit.training.run import TrainingRun

WORK: dict[str, tuple[str, list[str], int]] = {
    "DCGAN 28": ("dcgan_mnist", ["train.precision=fp32"], 24),
    "DCGAN 64": ("dcgan_mnist", ["train.precision=fp32", "data.resolution=64", "data.channels=3"], 16),
    "WGAN-GP 28": ("wgan_gp_mnist", ["train.precision=fp32"], 24),
    "IGAN_vN 28": ("igan_vn_mnist", ["train.precision=fp32"], 16),
}
"""What is measured: a recipe that comes with gankit, what is changed in it, and the number of rounds."""

LARGE = ("igan_mnist", ["train.precision=fp32", "data.resolution=96", "data.channels=3", "train.batch_size=32"])
"""What asks the allocator for large blocks."""


@dataclass(frozen=True)
class Way:
    """Another way of doing something."""

    here: str
    """What gankit does."""

    overrides: tuple[str, ...] = ()
    change: Callable[[TrainingRun], None] = lambda run: None
    threads: int | None = None
    not_for: tuple[str, ...] = ()
    """Work that it cannot do, or that it would change."""


def adam(**how: Any) -> Callable[[TrainingRun], None]:
    """Adam of another make, with the same settings."""

    def change(run: TrainingRun) -> None:
        for player, optimizer in run.optimizers.items():
            settings = {name: optimizer.defaults[name] for name in ("lr", "betas", "eps")}
            run.optimizers[player] = torch.optim.Adam(run.parameters[player], **settings, **how)

    return change


def kept_gradients(run: TrainingRun) -> None:
    """Gradients are set to zero where they are, instead of being let go."""
    for optimizer in run.optimizers.values():
        let_go = optimizer.zero_grad
        optimizer.zero_grad = lambda let_go=let_go: let_go(set_to_none=False)  # type: ignore[method-assign, misc]


def trick(name: str) -> tuple[str, ...]:
    return (f"tricks.other_way.use={PARTS}:{name}",)


SECOND_DERIVATIVES = ("WGAN-GP 28", "IGAN_vN 28")
BATCH_NORM_IN_D = ("DCGAN 28", "DCGAN 64")

ONE_PASS = "real and generated in one pass of D"
WAYS = {
    "gankit once more (control)": Way(""),
    "channels_last off": Way("`train.channels_last`, on", ("train.channels_last=false",)),
    "D not frozen in G's turn": Way("always frozen", trick("NotFrozen")),
    "Adam, foreach": Way("fused", change=adam(foreach=True)),
    "Adam, parameter by parameter": Way("fused", change=adam(foreach=False)),
    "gradients zeroed in place": Way("let go, which is torch's own way", change=kept_gradients),
    ONE_PASS: Way("two passes, right whatever layers D has", trick("OnePass"), not_for=BATCH_NORM_IN_D),
    "torch.compile of both networks": Way("not compiled", trick("Compiled"), not_for=SECOND_DERIVATIVES),
    "one thread": Way("torch's number, one for each core; `OMP_NUM_THREADS`", threads=1),
    "bf16": Way("`train.precision`, fp32: bf16 computes other gradients", ("train.precision=bf16",)),
}
CONTROL = "gankit once more (control)"


def measure(quick: bool) -> ResolvedPlugin:
    found: ResolvedPlugin = {"machine": machine(), "work": {}}
    for name, (recipe, overrides, rounds) in WORK.items():
        if quick and name not in ("DCGAN 28", "WGAN-GP 28"):
            continue
        if quick:
            overrides, rounds = [*overrides, *TINY], 2
        ways = {way: how for way, how in WAYS.items() if name not in how.not_for and not (quick and "compile" in way)}
        loops = {"gankit": threaded(iteration_of(game_of(recipe, overrides)), None)}
        for way, how in ways.items():
            run = game_of(recipe, [*overrides, *how.overrides])
            how.change(run)
            loops[way] = threaded(iteration_of(run), how.threads)
        taken = interleaved(loops, rounds, repeats=1 if quick else repeats_for(loops["gankit"]))
        control = taken.ratio(CONTROL, "gankit")
        found["work"][name] = {
            "milliseconds": taken.milliseconds("gankit"),
            "ratios": {way: taken.ratio(way, "gankit") for way in ways},
            "rounds": rounds,
            # One of the ways keeps a single core busy.
            "trouble": taken.together({"gankit": ["gankit"]}).trouble(control),
        }
    found["allocator"] = allocator(2 if quick else 3, quick)
    return found


def repeats_for(loop: Callable[[], None]) -> int:
    """Calls that fill half a second."""
    loop()
    return max(1, round(0.5 / timed(loop, 1)[0]))


def threaded(loop: Callable[[], None], threads: int | None) -> Callable[[], None]:
    """The loop with so many threads; None for as many as torch would take."""
    usual = torch.get_num_threads()

    def with_threads() -> None:
        torch.set_num_threads(threads or usual)
        loop()

    return with_threads


def allocator(pairs: int, quick: bool) -> ResolvedPlugin:
    """Pair by pair, a process that keeps what is freed and one that does not."""
    recipe, overrides = LARGE
    if quick:
        overrides = [*overrides, *TINY]
    ratios = []
    for number in range(pairs):
        order = [True, False] if number % 2 else [False, True]
        seconds = {keeps: in_a_process(recipe, overrides, keeps) for keeps in order}
        ratios.append(seconds[True] / seconds[False])
    return {"pairs": pairs, "ratios": ratios}


def in_a_process(recipe: str, overrides: list[str], keeps: bool) -> float:
    """Seconds of an iteration in a process of its own."""
    settings = [*overrides, f"train.keep_freed_memory={str(keeps).lower()}"]
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from timing import timed; "
        "from workloads import game_of, iteration_of; "
        "loop = iteration_of(game_of(sys.argv[2], json.loads(sys.argv[3]))); timed(loop, 2); print(timed(loop, 3)[0])"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), recipe, json.dumps(settings)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 3


def section(found: ResolvedPlugin) -> str:
    work = found["work"]
    lines = [
        "## The defaults, and the other ways",
        "",
        "The time of an iteration done the other way over gankit's as it comes: channels_last, D frozen in G's turn, "
        "fused Adam, gradients let go, one pass of D over the real and one over the generated images, no compilation, "
        "all cores, float32. Above 1 the default is the faster. Median of the ratios within rounds, and quartiles; "
        f"networks of the MNIST recipes (`dcgan_mnist`, `wgan_gp_mnist`, `igan_vn_mnist`), on {found['machine']}.",
        "",
        "| the other way | " + " | ".join(work) + " | gankit's way |",
        "| --- |" + " --- |" * len(work) + " --- |",
    ]
    for way, how in WAYS.items():
        cells = [str(Ratio(*row["ratios"][way])) if way in row["ratios"] else "" for row in work.values()]
        lines.append(f"| {way} | {' | '.join(cells)} | {how.here} |")
    took = ", ".join(f"{name} {row['milliseconds']:.0f} ms ({row['rounds']} rounds)" for name, row in work.items())
    low, median, high = statistics.quantiles(found["allocator"]["ratios"], n=4)
    lines += [
        "",
        f"An iteration as it comes takes: {took}.",
        "",
        "`keep_freed_memory`, glibc's allocator told to keep what is freed, is on by default: IGAN at 96x96 (32 "
        f"images, float32) takes {median:.2f} ({low:.2f} to {high:.2f}) of the time without it, over "
        f"{found['allocator']['pairs']} pairs of processes.",
        "",
        "Empty where the other way would compute something else: batch norm in D would see real and generated images "
        "together, and `torch.compile` cannot differentiate twice. Whole iterations as CUDA graphs are tried by "
        "`benchmarks/gpu.py`, which wants a GPU.",
    ]
    if one_pass := [row["ratios"][ONE_PASS][0] for row in work.values() if ONE_PASS in row["ratios"]]:
        lines += [
            "",
            f"One pass of D takes {' and '.join(f'{ratio:.3f}' for ratio in one_pass)} of the time of two. It is not "
            "gankit's way all the same: with layers that look at the whole batch it is another algorithm, and whether "
            "somebody's D has such layers the core cannot know.",
        ]
    troubles = [f"{name}: {row['trouble']}" for name, row in work.items() if row["trouble"] is not None]
    if troubles:
        lines += ["", f"Measurements that do not count: {'; '.join(troubles)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line(__doc__, measure, section)
