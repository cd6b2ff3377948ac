"""Order of the Frechet distance for known degradations, on the features of several extractors.

    GANKIT_DATA=... python benchmarks/feature_order.py [--count 2000]

GANKIT_DATA contains `cifar10/test.zip` and `mnist/`. Half of the test images are degraded more and more and compared
with the other half: by blur, by noise, by missing classes, and by copies of a few images. The last row of each dataset
compares samples of one DCGAN after fewer and fewer iterations. A row is in order if every distance is larger than the
one before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from timing import parser_of, table
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from gankit import Dataset, Extractor, Session
from gankit.plugin.hooks import Hooks
from gankit_plugins.data.images import Images
from gankit_plugins.data.mnist import Mnist
from gankit_plugins.extractor.bundled import Bundled
from gankit_plugins.extractor.classifier import DatasetClassifier
from gankit_plugins.extractor.pixels import Pixels
from gankit_plugins.metric.frechet_distance import frechet_distance_between

EXTRACTORS = (Bundled, DatasetClassifier, Pixels)


def blur(images: Tensor, _: Tensor, width: float) -> Tensor:
    """Return images that are averaged over squares of `width` pixels."""
    side = images.shape[-1]
    pooled = avg_pool2d(images.float(), int(width), ceil_mode=True)
    return interpolate(pooled, (side, side), mode="bilinear").round().to(torch.uint8)


def noise(images: Tensor, _: Tensor, sigma: float) -> Tensor:
    """Return images with normal noise of standard deviation `sigma`, in units of 255."""
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 255 * sigma * drawn).round().clamp(0, 255).to(torch.uint8)


def missing(images: Tensor, labels: Tensor, count: float) -> Tensor:
    """Return as many images, without the first `count` classes."""
    kept = (labels >= count).nonzero()[:, 0]
    return images[kept[torch.arange(len(images)) % len(kept)]]


def copies(images: Tensor, _: Tensor, distinct: float) -> Tensor:
    """Return as many images, of which only `distinct` are different."""
    return images[torch.arange(len(images)) % int(distinct)]


DEGRADATIONS: dict[str, tuple[Callable[[Tensor, Tensor, float], Tensor], tuple[float, ...]]] = {
    "blur, width in pixels": (blur, (1, 2, 3, 4, 8)),
    "noise, standard deviation": (noise, (0.0, 0.02, 0.05, 0.1, 0.2)),
    "missing classes": (missing, (0, 1, 3, 5, 8)),
    "distinct images": (copies, (1000, 300, 100, 30, 10)),
}


ITERATIONS = (400, 200, 100, 50, 20)


def datasets(data: Path) -> dict[str, Dataset]:
    """Return the test images of CIFAR-10 and of MNIST."""
    colour = Images(Images.Config(path=data / "cifar10" / "test.zip", resolution=32)).load_data()
    return {"CIFAR-10": colour, "MNIST": Mnist(Mnist.Config(folder=data / "mnist", split="test")).load_data()}


def samples_by_iterations(data: Path, count: int) -> dict[str, dict[int, Tensor]]:
    """Return samples (count, C, 32, 32) uint8 of a DCGAN of each dataset after each number of `ITERATIONS`."""
    cifar = [f"data.path={data / 'cifar10' / 'train.zip'}", "data.channels=3", "data.resolution=32"]
    samples: dict[str, dict[int, Tensor]] = {}
    for name, settings in {"CIFAR-10": ["data.use=images", *cifar], "MNIST": [f"data.folder={data / 'mnist'}"]}.items():
        with Session("dcgan_mnist", settings) as session:
            samples[name] = {}
            for iterations in sorted(ITERATIONS):
                session.train(iterations - session.run.iteration)
                samples[name][iterations] = session.images(count)[0]
    return samples


def rows_of(
    name: str, dataset: Dataset, samples: dict[int, Tensor], extractor: Extractor, label: str, count: int
) -> list[list[str]]:
    """Return a row of distances for each degradation, and one for the generator."""
    images, labels, _ = dataset.read()
    assert labels is not None
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    real, other = order[:count], order[count : 2 * count]
    expected = extractor(images[real]).values

    def row(what: str, fakes: dict[float, Tensor]) -> list[str]:
        values = [frechet_distance_between(expected, extractor(fake).values).item() for fake in fakes.values()]
        in_order = all(a < b for a, b in pairwise(values))
        levels = ", ".join(f"{strength:g}: {value:.3g}" for strength, value in zip(fakes, values, strict=True))
        return [name, what, label, levels, "yes" if in_order else "no"]

    rows = []
    for what, (degrade, strengths) in DEGRADATIONS.items():
        rows.append(row(what, {s: degrade(images[other], labels[other], s) for s in strengths}))
    rows.append(row("iterations of a generator", {number: samples[number] for number in ITERATIONS}))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=2000, help="number of images on each side")
    parser.add_argument("--only", default="bundled,classifier,pixels", help="extractors, separated by commas")
    given = parser.parse_args(arguments)
    rows: list[list[str]] = []
    data = Path(os.environ["GANKIT_DATA"])
    samples = samples_by_iterations(data, given.count)
    for name, dataset in datasets(data).items():
        for plugin in [plugin for plugin in EXTRACTORS if plugin.name in given.only.split(",")]:
            hooks = Hooks({"extractor": plugin(plugin.Config())})
            extractor = hooks.one("build_extractor", dataset, torch.device("cpu"))
            rows += rows_of(name, dataset, samples[name], extractor, plugin.name, given.count)
    print("\n".join(table(("images", "degradation", "extractor", "distance by strength", "in order"), rows)))


if __name__ == "__main__":
    main()
