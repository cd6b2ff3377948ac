"""Dependence of the Frechet distance on the number of images, between sets of images that differ only by chance.

    GANKIT_DATA=... python benchmarks/frechet_bias.py

Draws pairs of disjoint sets from MNIST's training images and prints the distance within a pair, on the features of the
extractor `classifier`: the mean and the range of five pairs for each number of images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timing import parser_of, table

from gankit_plugins.data.mnist import Mnist
from gankit_plugins.extractor.classifier import DatasetClassifier
from gankit_plugins.metric.frechet_distance import frechet_distance, mean_and_covariance

COUNTS = (100, 200, 500, 1000, 2000, 5000, 10_000)
PAIRS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    parser_of(__doc__).parse_args(arguments)
    dataset = Mnist(Mnist.Config()).load_data()
    extractor = DatasetClassifier(DatasetClassifier.Config()).build_extractor(dataset, torch.device("cpu"))
    images = dataset.read().images
    features = extractor(images).values
    print(f"{extractor.facts}")
    print("\n".join(table(("images in each set", "distance, mean of 5 pairs", "range"), [])))
    for count in COUNTS:
        distances = []
        for seed in range(PAIRS):
            order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
            a, b = (mean_and_covariance(features[index]) for index in (order[:count], order[count : 2 * count]))
            distances.append(frechet_distance(*a, *b).item())
        print(f"| {count:,} | {sum(distances) / PAIRS:.3g} | {min(distances):.3g} to {max(distances):.3g} |")


if __name__ == "__main__":
    main()
