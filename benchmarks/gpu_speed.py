"""One workload in one precision and batch size: gankit's ways to play it against loops written by hand."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from gpu_by_hand import PLAIN, TUNED, by_hand
from gpu_clock import interleaved, milliseconds, settle
from gpu_flops import flops_of, peak
from gpu_graphs import Again, RecordedIteration, recorded
from gpu_workloads import Precision, assembled
from timing import Loop, ResolvedPlugin, Rounds

from gankit.training.run import TrainingRun
from gankit.training.update import train_iteration

WARM_UP = 3
MIB = 2**20


@dataclass(frozen=True)
class Setting:
    """What all loops that are compared have in common."""

    workload: str
    precision: Precision
    device: str
    batch_size: int | None = None
    """None: the recipe's own."""

    quick: bool = False

    @property
    def on(self) -> torch.device:
        return torch.device(self.device)

    def run(self) -> TrainingRun:
        return assembled(self.workload, self.precision, self.device, self.batch_size, self.quick)


Variant = Callable[[Setting], Loop]


def plain(setting: Setting) -> Loop:
    return by_hand(setting.run(), PLAIN)


def tuned(setting: Setting) -> Loop:
    return by_hand(setting.run(), TUNED)


def eager(setting: Setting) -> Loop:
    """gankit as it is."""
    run = setting.run()
    return with_switches(lambda: train_iteration(run))


def compiled(setting: Setting) -> Loop:
    run = setting.run()
    compile_networks(run, "eager" if setting.quick else "inductor")
    return with_switches(lambda: train_iteration(run))


def graph(setting: Setting) -> Loop:
    return with_switches(RecordedIteration(setting.run(), recorded if setting.on.type == "cuda" else Again))


def compiled_graph(setting: Setting) -> Loop:
    run = setting.run()
    compile_networks(run, "eager" if setting.quick else "inductor")
    return with_switches(RecordedIteration(run, recorded if setting.on.type == "cuda" else Again))


BASE = "plain eager"
CONTROL = "plain eager, again"

EAGER: dict[str, Variant] = {
    BASE: plain,
    CONTROL: plain,
    "tuned eager": tuned,
    "gankit": eager,
    "gankit, graph": graph,
}
COMPILED: dict[str, Variant] = {
    BASE: plain,
    "gankit, compiled": compiled,
    "gankit, compiled, graph": compiled_graph,
}


def with_switches(loop: Loop) -> Loop:
    """The loop with gankit's process-wide switch, which a loop by hand may have turned."""

    def iteration() -> None:
        torch.backends.cudnn.benchmark = True
        loop()

    return iteration


def compile_networks(run: TrainingRun, backend: str) -> None:
    """`torch.compile` for the networks' forward passes, where no second derivative is taken.

    A penalty differentiates D's backward pass, and a compiled D raises when it is asked for that.
    """
    run.generator = torch.compile(run.generator, dynamic=False, backend=backend)
    if not any("penalty" in term.name or term.name in ("r1", "r2") for term in run.terms["discriminator"]):
        run.discriminator = torch.compile(run.discriminator, dynamic=False, backend=backend)


def rows(setting: Setting, variants: dict[str, Variant], seconds: float) -> Iterator[ResolvedPlugin]:
    """A row for each variant: times, their ratio to the base's, arithmetic and memory, or the error's first line."""
    loops: dict[str, Loop] = {}
    memory: dict[str, ResolvedPlugin] = {}
    errors: dict[str, str] = {}
    for name, variant in variants.items():
        try:
            loops[name], memory[name] = built(lambda variant=variant: variant(setting), setting.on)
        except Exception as error:
            errors[name] = first_line(error)
    run = setting.run()
    arithmetic: ResolvedPlugin = {}
    try:
        arithmetic["flops"] = flops_of(lambda: train_iteration(run))
    except Exception as error:
        arithmetic["flops_error"] = first_line(error)
    rounds = None
    try:
        rounds = interleaved(loops, setting.on, seconds)
    except Exception as error:
        errors |= {name: first_line(error) for name in loops}
    train = run.recipe.train
    common = {"workload": setting.workload, "precision": setting.precision, "batch_size": train.batch_size}
    images = train.batch_size * train.discriminator_steps
    for name in variants:
        row = common | {"variant": name}
        if name in errors or rounds is None:
            yield row | {"error": errors[name]}
            continue
        base = rounds.ratio(name, BASE) if BASE in loops else None
        yield (
            row
            | arithmetic
            | figures(rounds, name, images)
            | {
                "ratio": base,
                "share_of_peak": share_of_peak(arithmetic, rounds.milliseconds(name), setting),
                "memory": memory[name],
            }
        )


def figures(rounds: Rounds, name: str, images: int) -> ResolvedPlugin:
    quartiles = milliseconds(rounds, name)
    return {
        "milliseconds": quartiles,
        "images_per_second": 1000 * images / quartiles[1],
        "rounds": len(rounds.wall[name]),
        "repeats": rounds.repeats,
    }


def share_of_peak(arithmetic: ResolvedPlugin, milliseconds: float, setting: Setting) -> float | None:
    """None where the chip's peak is not known, or the arithmetic could not be counted."""
    if setting.on.type != "cuda" or "flops" not in arithmetic:
        return None
    most = peak(torch.cuda.get_device_name(setting.on), setting.precision)
    return None if most is None else arithmetic["flops"] / (milliseconds / 1000) / most


def built(build: Callable[[], Loop], device: torch.device) -> tuple[Loop, ResolvedPlugin]:
    """A loop that is warmed up, and what it needs of the device's memory while it goes on, in MiB.

    `allocated` is what its tensors take at most, `reserved` what torch keeps for it, a graph's own memory included.
    """
    if device.type != "cuda":
        loop = build()
        call(loop, WARM_UP)
        return loop, {}
    clear(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    loop = build()
    call(loop, WARM_UP)
    # What cuDNN tried out at first took more than what it does from now on.
    clear(device)
    torch.cuda.reset_peak_memory_stats(device)
    call(loop, 2)
    settle(device)
    return loop, {
        "allocated": (torch.cuda.max_memory_allocated(device) - allocated) / MIB,
        "reserved": (torch.cuda.max_memory_reserved(device) - reserved) / MIB,
    }


def clear(device: torch.device) -> None:
    settle(device)
    gc.collect()
    torch.cuda.empty_cache()


def call(loop: Loop, times: int) -> None:
    for _ in range(times):
        loop()


def first_line(error: BaseException) -> str:
    """An error as a row holds it."""
    lines: Iterable[str] = str(error).strip().splitlines()
    return f"{type(error).__name__}: {next(iter(lines), '')}"[:300]


def describe(device: torch.device) -> ResolvedPlugin:
    """The device and the software, for the record."""
    found: dict[str, Any] = {"torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": torch.cuda.get_device_name(device),
            "memory": properties.total_memory / MIB,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found
