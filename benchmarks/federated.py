"""Federated training beside central training that sees the same number of images.

    GANKIT_DATA=... python benchmarks/federated.py --out runs/federated_study [--iterations 2000] [--seeds 0]

A client trains `--iterations` iterations. The trainings are:

- central: one run on all data, with as many iterations as all clients together;
- central, short: one run on all data, with as many iterations as one client;
- one client alone: the run of a client on its own equal share, without averages;
- federated with equal shares, and with few classes for each client, where the average contains both networks, or only
  the generator.

The networks are small multilayer perceptrons for MNIST, so that everything takes a few minutes on one thread. Each row
has the metrics of the final generator, and their mean over the seeds. Trainings that are in the folder already are
continued or used, so the program can be interrupted and repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from timing import parser_of, table

from gankit import Recipe, Sampler, Session, find_recipe, resume, train
from gankit_plugins.command.adagan_study import has_ended
from gankit_plugins.command.federated_averaging import Split
from gankit_plugins.command.federated_training import (
    GENERATOR,
    Average,
    FederatedTraining,
    Settings,
    check_folder,
    server_recipe,
)

NETWORKS = [
    *("generator.use=mlp", "generator.hidden=[256,256]", "discriminator.use=mlp", "discriminator.hidden=[256,256]"),
    *("normalization.discriminator=none", "optimizer.generator.lr=5e-4", "optimizer.discriminator.lr=5e-4"),
    *("train.batch_size=64", "train.precision=fp32", "train.device=cpu"),
]
METRICS = [
    *("extractor.use=bundled", "metrics.frechet_distance={}", "metrics.modes={}", "evaluation.count=2000"),
    *("output.sample_every=100000", "output.log_every=250", "output.checkpoint_every=100000"),
]

TRAININGS: dict[str, tuple[Split, Average]] = {
    "equal shares": ("equal", "both"),
    "few classes": ("classes", "both"),
    "few classes, G only": ("classes", "generator"),
}


def trained(recipe: Recipe, path: Path) -> Path:
    """Train a run, or continue it, and return its generator file."""
    if (path / "recipe.toml").exists():
        if not has_ended(path):
            resume(path)
    else:
        train(recipe, path)
    return path / GENERATOR


def generators(recipe: Recipe, clients: int, rounds: int, out: Path) -> dict[str, tuple[int, Path]]:
    """Train everything, and return the number of iterations and the generator file of each training.

    The number of iterations is that of all clients together.
    """
    each = recipe.train.iterations
    central = recipe.changed([f"train.iterations={clients * each}"])
    files = {"central": (clients * each, trained(central, out / "central"))}
    files["central, short"] = each, trained(recipe, out / "central-short")
    for name, (split, average) in TRAININGS.items():
        settings, folder = (
            Settings(recipe, rounds, clients, split, average),
            out / name.replace(", ", "-").replace(" ", "-"),
        )
        check_folder(folder, settings)
        with Session(server_recipe(recipe)) as session:
            FederatedTraining(folder, settings, session).train()
        files[name] = clients * each, folder / GENERATOR
    data = out / "equal-shares" / "data_1.safetensors"
    alone = recipe.changed(["data.use=images", f"data.path={data.absolute()}"], drop=["data"])
    files["one client alone"] = each, trained(alone, out / "alone")
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=2000, help="iterations of each client")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args(arguments)
    measured: dict[str, list[dict[str, float]]] = {}
    iterations: dict[str, int] = {}
    batch = 0
    for seed in given.seeds:
        settings = [*NETWORKS, *METRICS, *given.overrides, f"train.iterations={given.iterations}", f"seed={seed}"]
        recipe = Recipe.load(find_recipe("dcgan_mnist"), settings, ["generator", "discriminator"])
        batch = recipe.train.batch_size * recipe.train.discriminator_steps
        files = generators(recipe, given.clients, given.rounds, given.out / f"seed_{seed}")
        with Session(recipe) as session:
            for name, (count, file) in files.items():
                sampler = Sampler.load(file, recipe.train.device)
                images, condition = sampler.sample(recipe.evaluation.count, None, recipe.evaluation.seed)
                measured.setdefault(name, []).append(session.metrics(images, condition))
                iterations[name] = count
    names = list(measured["central"][0])
    rows = [
        [name, iterations[name] * batch, *(f"{mean(values[metric] for values in all_values):.3g}" for metric in names)]
        for name, all_values in measured.items()
    ]
    print("\n".join(table(["training", "images", *names], rows)))


if __name__ == "__main__":
    main()
