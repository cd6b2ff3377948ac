"""Table 1 of the IGAN paper (Meng 2021): IGAN, IGAN_v2, WGAN-GP and DCGAN with the same training time and metrics.

    GANKIT_DATA=... python benchmarks/table1.py --out runs/table1                     MNIST, on CPU cores
    python benchmarks/table1.py --out runs/faces --images FACES --inception FILE --minutes 240 --jobs 1
                                                                                      sizes of the paper, on a GPU

Every system trains for the same time with each seed: the number of iterations follows from the measured time of one.
The metrics compare 10,000 generated with 10,000 training images. Finished runs are kept, so the same command continues
after an interruption. FACES is a folder or a prepared file. IGAN_v2 needs two classes and is left out without them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from small_grid import save_small_grid
from timing import parser_of, table

from gankit import Recipe
from gankit.ablation.local_executor import LocalExecutor, visible_gpus
from gankit.ablation.results import VARIANT_FACTS
from gankit.ablation.scheduler import StudyReporter, combined_error, run_study
from gankit.ablation.study import Study, StudyRun
from gankit.ablation.variants import Variant
from gankit.errors import GankitError
from gankit.evaluation.standalone import evaluate
from gankit.recipe.bundled import find_recipe
from gankit.storage.atomic_io import write_json
from gankit.training.assembly import assemble
from gankit.training.update import train_iteration
from gankit_plugins.data.idx import read_idx
from gankit_plugins.data.idx_collection import IdxSettings
from gankit_plugins.data.mnist import MNIST

ROOT = Path(__file__).parents[1]

PRINTED = {"IGAN": 6.56, "IGAN_v2": 9.77, "WGAN-GP": 7.80, "DCGAN": 7.61}
"""Figures of the paper for MNIST: the distance on Inception's features, of 10,000 images."""

WGAN_GP = [
    "loss=wasserstein",
    "train.discriminator_steps=5",
    "normalization.discriminator=none",
    "tricks.gradient_penalty.weight=10.0",
    "latent={use='normal', size=128}",
    *(f"optimizer.{side}={{use='adam', lr=1e-4, betas=[0.0, 0.9]}}" for side in ("generator", "discriminator")),
]
"""Settings that turn DCGAN into WGAN-GP (Gulrajani 2017, algorithm 1)."""

QUIET = ["output.log_every=100", "output.sample_every=1000", "output.checkpoint_every=100"]

WARM_UP, TIMED = 3, 12
"""Iterations that measure the time of one."""

COUNT = 10_000
METRICS = ("frechet_distance", "precision_recall", "modes")


class System(NamedTuple):
    """System of the table."""

    name: str
    recipe: str
    overrides: tuple[str, ...]


def on_mnist(out: Path) -> list[System]:
    """Return the systems at 28x28, narrow, for CPU cores. IGAN_vN is not in the table of the paper and comes last."""
    halves = [f"data.folder='{two_halves(out)}'", "data.classes=[0, 1]", "train.batch_size=64"]
    return [
        System("IGAN", "igan_mnist", ()),
        System("IGAN_v2", "igan_v2_mnist", tuple(halves)),
        System("WGAN-GP", "wgan_gp_mnist", ()),
        System("DCGAN", "dcgan_mnist", ()),
        System("IGAN_vN", "igan_vn_mnist", ()),
    ]


def two_halves(out: Path) -> Path:
    """Write MNIST's training images to a folder with two classes, digits 0 to 4 and 5 to 9, and return the folder.

    IGAN_v2 needs two classes, and the paper does not say which classes it used for table 1. With these two classes, all
    systems learn from the same images.
    """
    files = MNIST.find(IdxSettings())
    if files is None:
        raise SystemExit("GANKIT_DATA: MNIST is missing; set it to a folder that contains mnist/")
    folder = (out / "halves").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = files
    if not (folder / images.name).exists():
        (folder / images.name).symlink_to(images.absolute())
    halves = read_idx(labels) // 5
    header = bytes([0, 0, 8, 1]) + struct.pack(">I", len(halves))
    (folder / labels.name.removesuffix(".gz")).write_bytes(header + halves.numpy().tobytes())
    return folder


def at_paper_sizes(images: str) -> list[System]:
    """Return the systems at 96x96, as wide as in their papers, for a GPU."""
    path = f"data.path={json.dumps(str(Path(images).absolute()))}"
    classes = assemble(Recipe.load(find_recipe("igan_paper"), [path])).spec.class_names
    systems = [
        System("IGAN", "igan_paper", (path,)),
        System("IGAN_v2", "igan_vn_paper", (path, "generator={use='igan_v2', channels=64}")),
        System("WGAN-GP", "dcgan_paper", (path, "data.resolution=96", "train.batch_size=64", *WGAN_GP)),
        System("DCGAN", "dcgan_paper", (path, "data.resolution=96")),
    ]
    return [system for system in systems if system.name != "IGAN_v2" or len(classes) == 2]


class Row(NamedTuple):
    """Results of a system, seed by seed."""

    metrics: list[dict[str, float]]
    protocols: list[dict[str, Any]]
    iterations: int
    weights: tuple[int, int]
    """Number of weights of G and of D."""


def clock() -> float:
    """Return seconds of wall-clock time on a GPU, or of CPU time, which other programs on the machine affect less."""
    if torch.cuda.is_available():
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def timed(system: System, threads: int) -> tuple[float, int, int]:
    """Return the time of an iteration in seconds, and the numbers of parameters of G and of D."""
    torch.set_num_threads(threads)
    run = assemble(Recipe.load(find_recipe(system.recipe), system.overrides))
    run.load_data()
    run.start()
    seconds = []
    for _ in range(WARM_UP + TIMED):
        began = clock()
        train_iteration(run)
        run.after_iteration(run)
        if run.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    of_g, of_d = (sum(p.numel() for p in network.parameters()) for network in (run.generator, run.discriminator))
    return statistics.median(seconds[WARM_UP:]), of_g, of_d


class Lines(StudyReporter):
    """Prints a line for each run that ends."""

    def ended(self, run: StudyRun, outcome: dict[str, Any]) -> None:
        print(f"{run.name}: {outcome['failed'] or 'trained'}", flush=True)

    def failed(self, run: StudyRun, error: GankitError) -> None:
        print(f"{run.name}: failed, {error}", flush=True)

    def stopping(self) -> None:
        print("interrupted: each run writes a checkpoint and ends", flush=True)


def cached(file: Path, compute: Callable[[], Any]) -> Any:
    """Return the content of a JSON file. Compute and write it if the file does not exist."""
    if not file.exists():
        write_json(file, compute())
    return json.loads(file.read_text(encoding="utf-8"))


def evaluated(run: Path, against: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of a run, with their protocol."""
    return cached(run / "table1.json", lambda: evaluate(run, against, changes, metrics=METRICS))


def spread(values: list[float]) -> str:
    """Return `12.3 (11.9 to 13)`, or `10` if all values are equal."""
    mean, low, high = (f"{value:.3g}" for value in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def page(rows: dict[str, Row], budget: str, on_mnist: bool) -> list[str]:
    """Return the table and the protocol as lines of Markdown. The paper has figures for MNIST only."""
    protocols = {
        tuple((k, v) for k, v in p.items() if k not in VARIANT_FACTS) for row in rows.values() for p in row.protocols
    }
    assert len(protocols) == 1, "all metrics have the same protocol"
    protocol = ", ".join(f"{key}: {fact}" for key, fact in protocols.pop())
    named = ["frechet_distance", "precision", "recall", *(["modes"] if on_mnist else [])]
    heads = ["system", "Frechet distance", *named[1:], "iterations", "weights of G, D"]
    heads += ["the paper's distance on MNIST"] if on_mnist else []
    lines = [
        "<!-- Written by `python benchmarks/table1.py`. -->",
        "",
        "# Table 1 of the IGAN paper",
        "",
        f"{budget}: the mean, with the range over the seeds in brackets. Lower is better for the distance, higher for "
        "precision and recall.",
        "",
    ]
    body = []
    for name, row in rows.items():
        cells = [spread([metrics[key] for metrics in row.metrics]) for key in named]
        cells += [f"{row.iterations:,}", f"{row.weights[0] / 1e6:.2f}M, {row.weights[1] / 1e6:.2f}M"]
        cells += [str(PRINTED.get(name, "none"))] if on_mnist else []
        body.append([name, *cells])
    return [*lines, *table(heads, body), "", *(comparison(rows, protocol) if on_mnist else [f"Protocol: {protocol}."])]


def comparison(rows: dict[str, Row], protocol: str) -> list[str]:
    """Return what the figures of the paper and these have in common."""
    here = sorted(PRINTED, key=lambda name: statistics.mean(m["frechet_distance"] for m in rows[name].metrics))
    return [
        f"The paper's order, best first: {', '.join(sorted(PRINTED, key=PRINTED.__getitem__))}. "
        f"Here: {', '.join(here)}.",
        "",
        "**The two columns of distances do not compare.** Those of the paper are on Inception's features, after a "
        f"training time that the paper does not give. These have the following protocol: {protocol}. Compare only the "
        "order within a column. A budget in minutes favours systems with fast iterations. The paper does not give the "
        "two classes of IGAN_v2. Here they are the digits 0 to 4 and 5 to 9, so that all systems learn from the same "
        "images. IGAN_v2 and IGAN_vN are trained with labels, the others without.",
    ]


def image_lines(study: Study, folder: Path) -> list[str]:
    """Write a small grid of the first seed of each system; return the lines of the page that show them."""
    lines = []
    for run in study.runs[: len(study.variants)]:
        name = run.variant.folder
        save_small_grid(run.path, folder / f"{name}.png")
        lines += ["", f"## {name}", "", f"![Images of {name}](images/{folder.name}/{name}.png)"]
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="number of runs at the same time")
    parser.add_argument("--images", help="folder or prepared file, for the sizes of the paper")
    parser.add_argument(
        "--inception", type=Path, help="TorchScript file of Inception; default: the features of a classifier"
    )
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "table1.md")
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    mnist = arguments.images is None
    systems = on_mnist(out) if mnist else at_paper_sizes(arguments.images)
    gpus = visible_gpus(torch.cuda.device_count())
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)

    times = cached(out / "times.json", lambda: {system.name: timed(system, threads) for system in systems})
    iterations = {name: max(1, round(60 * arguments.minutes / seconds)) for name, (seconds, *_) in times.items()}
    variants = []
    for system in systems:
        overrides = [*system.overrides, *QUIET, f"train.iterations={iterations[system.name]}"]
        variants.append(Variant(system.name, "", True, Recipe.load(find_recipe(system.recipe), overrides)))
        print(f"{system.name}: {iterations[system.name]} iterations of {times[system.name][0]:.3g} s", flush=True)
    study = Study.begin(out / "runs", variants, range(arguments.seeds), threads)
    end = run_study(study, LocalExecutor(arguments.jobs, threads, gpus), Lines())
    if end.interrupted:
        raise SystemExit(130)
    if end.failures:
        raise combined_error(end.failures)

    changes: dict[str, Any] = {"evaluation": {"count": COUNT}}
    if arguments.inception is not None:
        changes["extractor"] = {"use": "inception", "path": str(arguments.inception.absolute())}
    # The first evaluation caches the features of the real images for the others.
    against = "mnist" if mnist else arguments.images
    evaluated(study.runs[0].path, against, changes)
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        waiting = {run: pool.submit(evaluated, run.path, against, changes) for run in study.runs}
    rows = {}
    for system in systems:
        results = [waiting[run].result() for run in study.runs if run.variant.folder == system.name]
        metrics, protocols = ([one[key] for one in results] for key in ("metrics", "protocol"))
        rows[system.name] = Row(metrics, protocols, iterations[system.name], times[system.name][1:])
    cores = f"{threads} CPU core{'s' if threads > 1 else ''} ({platform.machine()}) for each run"
    where = torch.cuda.get_device_name() if gpus else cores
    budget = f"{arguments.minutes:g} minutes of training under its own recipe, {arguments.seeds} seeds, {where}"
    shown = image_lines(study, arguments.page.parent / "images" / arguments.page.stem)
    arguments.page.write_text("\n".join([*page(rows, budget, mnist), *shown, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
