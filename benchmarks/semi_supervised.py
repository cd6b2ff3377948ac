"""Accuracy of a semi-supervised discriminator at several numbers of labels, against the same network without the GAN.

    python benchmarks/semi_supervised.py [RECIPE] [KEY=VALUE ...] [--labels 100 1000 10000] [--seeds 0 1 2] [--out FILE]

Trains the recipe (default: semi_supervised_mnist) in this process for each number of labels and each seed. The seed
also chooses the labelled images. The control is the discriminator of the same recipe, trained for the same number of
steps and with the same optimiser, batch size and input noise on the labelled images alone. Both are measured on the
data of the recipe's metric `classifier_accuracy` after the last step, without a choice of the best step.

Each finished training appends a line to FILE, and a second start continues after the last line. Settings KEY=VALUE are
those of the recipe, so a short test is `train.iterations=200`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from timing import parser_of, table

from gankit import Session, Step, value_at
from gankit_plugins.metric.classifier_accuracy import ClassifierAccuracy, class_logits

SEMI, CONTROL = "semi-supervised", "labels only"


def train_on_labels(session: Session) -> None:
    """Train the discriminator of a session on the term `supervised` alone, for the D steps of its recipe."""
    run = session.run
    run.load_data()
    run.start()
    (term,) = (term for term in run.terms["discriminator"] if term.name == "supervised")
    train = run.recipe.train
    for _ in range(train.iterations * train.discriminator_steps):
        real = run.draw_real().images
        # The term draws labelled images of its own. Only the batch size of the step is used.
        step = Step(run, "discriminator", real, None, z=real.flatten(1)[:, :1], fake=real)
        with run.autocast():
            loss = value_at(term.weight, run) * term.function(step)
        loss.backward()
        run.optimizers["discriminator"].step()
        run.optimizers["discriminator"].zero_grad()


@torch.no_grad()
def accuracy(session: Session, metric: ClassifierAccuracy) -> float:
    """Return the share of test images whose class the session's discriminator predicts."""
    discriminator = session.run.discriminator.eval()
    logits = class_logits(discriminator, metric.test.images, None)
    assert logits is not None, "the recipe has the trick semi_supervised"
    return (logits.argmax(1) == metric.test.condition).double().mean().item()


def trained(recipe: str, overrides: Sequence[str], labels: int, seed: int, method: str) -> dict[str, Any]:
    """Train one discriminator, and return a row with its accuracy."""
    changes = [*overrides, f"data.labels={labels}", f"data.seed={seed}", f"seed={seed}"]
    start = time.perf_counter()
    config = Session(recipe, changes).recipe.components["metrics.classifier_accuracy"].config
    session = Session(recipe, changes, drop=["metrics"])
    if method == SEMI:
        session.train()
    else:
        train_on_labels(session)
    seconds = round(time.perf_counter() - start)
    assert isinstance(config, ClassifierAccuracy.Config)
    row = {"labels": labels, "seed": seed, "method": method, "iterations": session.recipe.train.iterations}
    return row | {"accuracy": round(accuracy(session, ClassifierAccuracy(config)), 4), "seconds": seconds}


def spread(values: Sequence[float]) -> str:
    """Return the mean error rate in percent with the standard deviation over the seeds."""
    errors = [100 * (1 - value) for value in values]
    return f"{fmean(errors):.2f}" + (f" ± {stdev(errors):.2f}" if len(errors) > 1 else "")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("settings", nargs="*", metavar="RECIPE | KEY=VALUE", help="recipe, and settings of the recipe")
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 1000, 10000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("semi_supervised.jsonl"), help="file of the finished rows")
    given = parser.parse_intermixed_args(arguments)
    overrides = [one for one in given.settings if "=" in one]
    recipes = [one for one in given.settings if "=" not in one] or ["semi_supervised_mnist"]
    if len(recipes) > 1:
        parser.error(f"one recipe at a time; given: {', '.join(recipes)}")
    what = {"recipe": recipes[0], "settings": sorted(overrides)}
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    done = {(r["labels"], r["seed"], r["method"]): r for r in rows if all(r[key] == one for key, one in what.items())}
    for labels in given.labels:
        for seed in given.seeds:
            for method in (SEMI, CONTROL):
                if (labels, seed, method) not in done:
                    row = what | trained(recipes[0], overrides, labels, seed, method)
                    done[labels, seed, method] = row
                    with given.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)
    cells = [
        [f"{labels:,}", *(spread([done[labels, s, m]["accuracy"] for s in given.seeds]) for m in (SEMI, CONTROL))]
        for labels in given.labels
    ]
    print("\n".join(table(["labels", "error in %, semi-supervised", "error in %, labels only"], cells)))


if __name__ == "__main__":
    main()
