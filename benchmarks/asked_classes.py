"""Share of generated images that show the requested class, for class-conditional recipes on the same data.

    python benchmarks/asked_classes.py RECIPE [RECIPE ...] [KEY=VALUE ...] [--seeds 0 1 2] [--test KEY=VALUE]

Trains each recipe in this process for each seed. Then a classifier, which is independent of the training, predicts the
class of `--count` generated images with equally many of each class. The classifier is a feature extractor of gankit:
`bundled` (default) has a linear layer on the features of its network, which was trained on CIFAR-10 or MNIST, and
`classifier` is trained on the data of the recipe. Settings KEY=VALUE are those of all recipes. With `--test`, the
accuracy of the classifier on real images is printed first: `--test data.split=test` for MNIST and CIFAR-10, and
`--test data.path=FILE` for images. It is the share that perfect images would have.

    python benchmarks/asked_classes.py conditional_dcgan_cifar10 ac_gan_cifar10 projection_cifar10
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from timing import parser_of, table
from torch import Tensor

from gankit import Extractor, Session


def shares_as_asked(predicted: Tensor, labels: Tensor, classes: int) -> list[float]:
    """Return the share of images with the requested class, for each of the K classes. Each class has an image or more.

    Args:
        predicted: classes of the images by the classifier, (N,).
        labels: requested classes, (N,).
        classes: K, number of classes.
    """
    correct = torch.zeros(classes).index_add_(0, labels, (predicted == labels).float())
    return (correct / labels.bincount(minlength=classes)).tolist()


def predictions(classifier: Extractor, images: Tensor) -> Tensor:
    """Return the classes (N,) of images (N, C, R, R) uint8 by a classifier."""
    logits = classifier.logits_of(images, classifier(images))
    assert logits is not None, "main refuses a classifier without classes"
    return logits.argmax(1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE | KEY=VALUE", help="recipes, and settings of all of them")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--count", type=int, default=2000, help="number of generated images")
    parser.add_argument("--classifier", default="bundled", help="extractor with class logits")
    parser.add_argument("--test", help="setting that makes the data of the recipe its test images")
    parser.add_argument("--pictures", type=Path, help="folder for a grid of images of each run")
    given = parser.parse_args(arguments)
    overrides = [one for one in given.recipes if "=" in one] + [f"extractor.use={given.classifier}"]
    recipes = [one for one in given.recipes if "=" not in one]
    if not recipes:
        parser.error("name a recipe")
    classifier = Session(recipes[0], overrides).run.build_extractor()
    names = classifier.class_names
    if not names:
        parser.error(f"{given.classifier} has no classes of these data; name another --classifier")
    if given.count < len(names):
        parser.error(f"--count: {given.count} given; there are {len(names)} classes")
    print(json.dumps(dict(classifier.facts)), flush=True)
    if given.test:
        images, labels, _ = Session(recipes[0], [*overrides, given.test]).run.dataset.read()
        assert labels is not None, "the classifier has the classes of the data"
        accuracy = (predictions(classifier, images) == labels).double().mean().item()
        print(json.dumps({"real test images": len(images), "as asked": round(accuracy, 4)}), flush=True)
    rows = []
    for recipe in recipes:
        means, worst = [], []
        for seed in given.seeds:
            session = Session(recipe, [*overrides, f"seed={seed}"])
            if session.run.spec.class_names != names:
                parser.error(f"{recipe} has other classes than {recipes[0]}")
            start = time.perf_counter()
            session.train()
            seconds = round(time.perf_counter() - start)
            images, labels = session.images(given.count)
            if labels is None:
                parser.error(f"the generator of {recipe} takes no labels")
            shares = shares_as_asked(predictions(classifier, images), labels, len(names))
            means.append(fmean(shares))
            worst.append(min(shares))
            name = session.recipe.name
            row = {"recipe": name, "seed": seed, "iterations": session.iteration, "seconds": seconds}
            by_class = {of: round(share, 3) for of, share in zip(names, shares, strict=True)}
            print(json.dumps(row | {"as asked": round(means[-1], 4), "by class": by_class}), flush=True)
            if given.pictures:
                given.pictures.mkdir(parents=True, exist_ok=True)
                session.grid(10 * len(names)).save(given.pictures / f"{name}_{seed}.png")
        cells = [f"{min(means):.3f} to {max(means):.3f}", f"{min(worst):.3f}"]
        rows.append([name, str(len(means)), f"{fmean(means):.3f}", *cells])
    print("\n".join(table(["recipe", "seeds", "as asked", "lowest to highest seed", "worst class"], rows)))


if __name__ == "__main__":
    main()
