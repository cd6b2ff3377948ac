"""Privacy budget against quality and against membership inference, for a small DCGAN on MNIST.

    python benchmarks/privacy.py [--samples 1000 50000] [--iterations 2000] [--work runs/privacy]

Trains without privacy and with each budget on random images of MNIST, and attacks each run with images of MNIST that
it has not seen. Prints a table. Finished runs stay in WORK, and a run that was interrupted is resumed.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import parser_of, processor
from timing import table as markdown_table

import gankit
from gankit import Recipe
from gankit.data.load import load_dataset
from gankit.evaluation.standalone import evaluate

Raw = dict[str, Any]

DELTA = 1e-5
NORM = 0.1
"""C, below the norms of most gradients of this discriminator."""

HELD_OUT = 10_000
"""Number of images that no run sees."""


def base(width: int, iterations: int, batch_size: int, d_steps: int) -> Raw:
    """Return the recipe without privacy. D has no normalisation, and learns more often than G (Bie 2023)."""
    adam = {"use": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}
    return {
        "train": {
            "iterations": iterations,
            "batch_size": batch_size,
            "discriminator_steps": d_steps,
            "device": "cpu",
            "precision": "fp32",
        },
        "output": {"sample_every": iterations, "checkpoint_every": max(1, iterations // 10), "log_every": 20},
        "latent": {"use": "normal", "size": 32},
        "generator": {"use": "dcgan", "width": width},
        "discriminator": {"use": "dcgan", "width": width},
        "normalization": {"generator": "batch_norm", "discriminator": "none"},
        "optimizer": {"generator": adam, "discriminator": adam},
    }


def write_data(folder: Path, samples: int) -> tuple[Path, Path]:
    """Write random images of MNIST for training, and others that are held out, as NumPy files. Return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = folder / f"training_{samples}.npy", folder / "held_out.npy"
    if not training.exists() or not held_out.exists():
        images = load_dataset({"use": "mnist"}, "mnist").read().images[:, 0].numpy()
        order = np.random.default_rng(0).permutation(len(images))
        np.save(held_out, images[order[:HELD_OUT]])
        np.save(training, images[order[HELD_OUT : HELD_OUT + samples]])
    return training, held_out


def noise_multiplier(epsilon: float, q: float, steps: int) -> float:
    """Return the sigma with which all steps together spend `epsilon`."""
    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order")  # the result is valid
        sigma: float = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=DELTA,
            sample_rate=q,
            steps=steps,
            accountant="rdp",
            epsilon_tolerance=1e-3,
        )
    return sigma


def trained(recipe: Raw, out: Path) -> Path:
    """Train a run, or resume it if it exists. Return its folder."""
    if (out / "recipe.toml").exists():
        gankit.resume(out)
    else:
        gankit.train(Recipe.from_dict(recipe), out)
    return out


def measured(run: Path, held_out: Path, count: int) -> Raw:
    """Return the Frechet distance to held-out images, epsilon, and the AUC of each attack with its interval."""
    data = {"use": "numpy", "path": str(held_out)}
    changes = {"data": data, "extractor": {"use": "bundled"}, "evaluation": {"count": count}}
    metrics = evaluate(run, None, changes, "cpu", metrics=["frechet_distance"])["metrics"]
    audit = gankit.audit(run, str(held_out), {"data": data}, count=count, generated=5 * count, device="cpu")
    return {
        "frechet_distance": metrics["frechet_distance"],
        "epsilon": audit.facts.get("epsilon"),
        "near_copies": audit.copies["near_copies"],
        "attacks": {one.name: list(one.auc) for one in audit.attacks},
    }


def row(samples: int, sigma: float, result: Raw) -> list[str]:
    """Return the cells of a run in the table."""
    epsilon = "none" if result["epsilon"] is None else f"{result['epsilon']:.3g}"
    attacks = [f"{auc:.3f} ({low:.3f} to {high:.3f})" for auc, low, high in result["attacks"].values()]
    numbers = [f"{result['frechet_distance']:.0f}", f"{result['near_copies']:.1%}"]
    return [f"{samples:,}", epsilon, f"{sigma:.2f}" if sigma else "none", *numbers, *attacks]


HEADER = ["training images", "epsilon", "sigma", "Frechet distance", "near copies"]
HEADER += ["AUC, D's logits", "AUC, Monte Carlo", "AUC, nearest sample"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 50_000], help="numbers of training images")
    parser.add_argument("--budgets", type=float, nargs="*", default=[50.0, 10.0, 2.0], help="values of epsilon")
    parser.add_argument("--iterations", type=int, default=2000, help="iterations of each run")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--d-steps", type=int, default=5, help="D steps for each G step")
    parser.add_argument("--width", type=int, default=16, help="width of the networks")
    parser.add_argument("--count", type=int, default=1000, help="images of each kind in an attack and in the distance")
    parser.add_argument("--work", type=Path, default=Path("runs/privacy"), help="folder of the runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = base(given.width, given.iterations, given.batch_size, given.d_steps)
    rows, start = [], time.perf_counter()
    for samples in given.samples:
        training, held_out = write_data(given.work, samples)
        for budget in (None, *given.budgets):
            sigma = 0.0
            own = recipe | {"name": "privacy", "data": {"use": "numpy", "path": str(training.absolute())}}
            if budget is not None:
                sigma = noise_multiplier(budget, given.batch_size / samples, given.iterations * given.d_steps)
                settings = {"norm": NORM, "sigma": sigma, "delta": DELTA, "chunk": given.batch_size}
                own["tricks"] = {"dp_sgd": settings}
            # The names contain the settings, so other settings do not show the results of these ones.
            settings_of_run = f"{given.iterations}_{given.batch_size}_{given.d_steps}_{given.width}"
            run = given.work / f"{samples}_{budget or 'none'}_{settings_of_run}"
            file = run / f"privacy_{given.count}.json"
            if not file.exists():
                result = measured(trained(own, run), held_out.absolute(), given.count)
                file.write_text(json.dumps(result))
            rows.append(row(samples, sigma, json.loads(file.read_text())))
            print(" | ".join(rows[-1]), flush=True)
    print(f"\n{processor()}, one thread, {time.perf_counter() - start:.0f} s\n")
    print("\n".join(markdown_table(HEADER, rows)))


if __name__ == "__main__":
    main()
