"""Which of gankit's defaults win on a GPU: the tuned loop with one habit changed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from gpu_by_hand import TUNED, Habits, by_hand
from gpu_clock import interleaved, seconds_of
from gpu_speed import Setting, built, first_line
from timing import Loop, ResolvedPlugin, Rounds

ALTERED: dict[str, Habits] = {
    "channels_last off": replace(TUNED, channels_last=False),
    "Adam by foreach": replace(TUNED, fused_adam=False),
    "D not frozen in G's turn": replace(TUNED, frozen_judge=False),
    "real and fake in one pass of D": replace(TUNED, joined=True),
}
BASE, CONTROL, BENCHMARK = "as gankit has it", "as gankit has it, again", "cudnn.benchmark off"

PAIRS = 9
PATIENCE = 120.0
"""Seconds until the other process must have answered."""


def rows(setting: Setting, seconds: float) -> Iterator[ResolvedPlugin]:
    """Each change's time to that of the loop with gankit's defaults."""
    common = {"workload": setting.workload, "precision": setting.precision}
    loops: dict[str, Loop] = {}
    for name, habits in {BASE: TUNED, CONTROL: TUNED, **ALTERED}.items():
        try:
            loops[name], _ = built(lambda habits=habits: by_hand(setting.run(), habits), setting.on)
        except Exception as error:
            yield common | {"variant": name, "error": first_line(error)}
    rounds = interleaved(loops, setting.on, seconds)
    for name in loops:
        if name != BASE:
            yield common | {"variant": name, "ratio": rounds.ratio(name, BASE)}
    yield common | {"variant": BENCHMARK, **_benchmark(setting)}


def _benchmark(setting: Setting) -> ResolvedPlugin:
    try:
        return {"ratio": in_two_processes(setting).ratio("off", "on")}
    except Exception as error:
        return {"error": first_line(error)}


def in_two_processes(setting: Setting) -> Rounds:
    """The loop with and without cudnn.benchmark, each in a process of its own: cuDNN keeps the first plan that it has
    found for a shape, whoever asks again. The two take turns."""
    context = get_context("spawn")
    habits = {"on": TUNED, "off": replace(TUNED, cudnn_benchmark=False)}
    ends: dict[str, Connection] = {}
    workers = []
    for name, own in habits.items():
        ends[name], other = context.Pipe()
        workers.append(context.Process(target=_answer, args=(other, setting, own), daemon=True))
        workers[-1].start()
        other.close()
    try:
        once = max(_ask(end, 2) for end in ends.values()) / 2
        repeats = max(1, round(0.05 / once))
        taken: dict[str, list[float]] = {name: [] for name in ends}
        for number in range(2 if setting.quick else PAIRS):
            for name in list(ends)[:: -1 if number % 2 else 1]:
                taken[name].append(_ask(ends[name], repeats))
        return Rounds(taken, taken, repeats)
    finally:
        for end in ends.values():
            end.close()
        for worker in workers:
            worker.join(10)
            if worker.is_alive():
                worker.kill()


def _ask(end: Connection, repeats: int) -> float:
    """Seconds that the process at the other end takes for so many calls."""
    end.send(repeats)
    if not end.poll(PATIENCE):
        raise TimeoutError(f"no answer in {PATIENCE:g} seconds")
    answer = end.recv()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def _answer(end: Connection, setting: Setting, habits: Habits) -> None:
    """Times the loop as often as it is asked, or says what went wrong, until nobody is there any more."""
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    loop = None
    with suppress(EOFError, ConnectionError):
        while True:
            repeats = end.recv()
            try:
                if loop is None:
                    loop, _ = built(lambda: by_hand(setting.run(), habits), setting.on)
                end.send(seconds_of(loop, repeats, setting.on))
            except Exception as error:
                end.send(first_line(error))
