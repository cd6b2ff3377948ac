"""Cost of IGAN_vN against the number of classes N, with the same number of images in a batch.

    python benchmarks/classes.py

N = 1, 2, 5, 10 and 20 classes share a batch. They are compared with ten separate networks of one class each, and with
ten classes computed one after the other instead of as grouped convolutions. The control is N = 1 again. Meng 2021 does
not give the cost.
"""

from __future__ import annotations

from collections.abc import Callable

from timing import Ratio, Result, command_line, interleaved, machine, peak_of_tensors, table
from workloads import PLUGINS, benchmark_run, iteration_of

from gankit.training.run import TrainingRun

CLASSES = (1, 2, 5, 10, 20)
BATCH = 60
ROUNDS = 30
TARGET = 1.3
"""Highest accepted ratio of the times of N = 10 and N = 1."""


def measure(quick: bool) -> Result:
    found: Result = {"machine": machine(), "batch": BATCH, "target": TARGET, "precisions": {}}
    small = ["data.resolution=8", "generator.channels=2", "discriminator.width=2"] if quick else []
    for precision in ("fp32",) if quick else ("fp32", "bf16"):
        settings = [f"train.precision={precision}", *small]
        loops = {f"{n}": iteration_of(with_classes(n, settings)) for n in ((1, 10) if quick else CLASSES)}
        loops["control"] = iteration_of(with_classes(1, settings))
        loops["one by one"] = iteration_of(with_classes(10, [*settings, f"tricks.one.use={PLUGINS}:OneByOne"]))
        loops["separate"] = ten_separate(settings)
        memory = {name: peak_of_tensors(loop) for name, loop in loops.items()}
        rounds = interleaved(loops, 2 if quick else ROUNDS, warm_up=1)
        control = rounds.ratio("control", "1")
        found["precisions"][precision] = {
            "milliseconds": rounds.milliseconds("1"),
            "rounds": len(rounds.wall["1"]),
            "ratios": {name: rounds.ratio(name, "1") for name in loops},
            "memory": memory,
            "invalid": rounds.invalid(control),
        }
    return found


def with_classes(n: int, overrides: list[str]) -> TrainingRun:
    """Return a run of `igan_vn_mnist` with N classes."""
    settings = [f"data.classes={n if n > 1 else 0}", f"train.batch_size={BATCH}"]
    return benchmark_run("igan_vn_mnist", [*settings, *overrides])


def ten_separate(overrides: list[str]) -> Callable[[], None]:
    """Return an iteration of ten runs of one class each, with a tenth of the images each."""
    iterations = [iteration_of(with_classes(1, [*overrides, f"train.batch_size={BATCH // 10}"])) for _ in range(10)]

    def iteration() -> None:
        for one in iterations:
            one()

    return iteration


def section(found: Result) -> str:
    precisions = found["precisions"]
    lines = [
        "## Cost of a class",
        "",
        f"`igan_vn_mnist` with N classes and {found['batch']} images in a batch for every N. Time is that of an "
        "iteration over that of N = 1: the median of the ratios within rounds, with quartiles. Memory is the peak of "
        "tensors beyond weights and optimisers, by torch's profiler, over that of N = 1. *One by one* computes the ten "
        "branches one after the other instead of as grouped convolutions. *Ten networks* are ten GANs of one class "
        f"each, trained one after the other, with a tenth of the images each. On {found['machine']}.",
        "",
    ]
    names = {str(n): f"N = {n}" for n in CLASSES} | {
        "one by one": "N = 10, one by one",
        "separate": "ten networks",
        "control": "N = 1 again (control)",
    }
    rows = []
    for name, label in names.items():
        if all(name in row["ratios"] for row in precisions.values()):
            times = [Ratio(*row["ratios"][name]) for row in precisions.values()]
            memory = [f"{row['memory'][name] / row['memory']['1']:.2f}" for row in precisions.values()]
            rows.append([label, *(cell for pair in zip(times, memory, strict=True) for cell in pair)])
    lines += table(["", *(f"{precision}, {what}" for precision in precisions for what in ("time", "memory"))], rows)
    for precision, row in precisions.items():
        ten = row["ratios"]["10"][0]
        met = "meets" if ten <= found["target"] else "misses"
        lines += [
            "",
            f"{precision}: N = 1 takes {row['milliseconds']:.0f} ms and {row['memory']['1'] / 2**20:.0f} MiB. "
            f"N = 10 takes {ten:.2f} times as long, which {met} the target of {found['target']}; ten networks take "
            f"{row['ratios']['separate'][0] / ten:.2f} times as long as N = 10, one by one "
            f"{row['ratios']['one by one'][0] / ten:.2f} times. {row['rounds']} rounds."
            + (f" The measurement is not valid: {row['invalid']}." if row["invalid"] else ""),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line(__doc__, measure, section)
