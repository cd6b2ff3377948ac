"""How the Frechet distance falls with the number of images, for images that differ in nothing.

    GANKIT_DATA=... python benchmarks/frechet_bias.py

Draws pairs of disjoint sets of MNIST's training images, looks at them through the extractor `classifier`, and prints
the distance between the two of a pair: the mean of five pairs and the range, for each count. Nothing differs between
the sets but the draw.
"""

from __future__ import annotations

import torch

from gankit_plugins.data.mnist import Mnist
from gankit_plugins.extractor.classifier import DatasetClassifier
from gankit_plugins.metric.frechet_distance import frechet_distance, mean_and_covariance

COUNTS = (100, 200, 500, 1000, 2000, 5000, 10_000)
PAIRS = 5


def main() -> None:
    dataset = Mnist(Mnist.Config()).load_data()
    extractor = DatasetClassifier(DatasetClassifier.Config()).build_extractor(dataset, torch.device("cpu"))
    images, _ = dataset.load()
    features = extractor(images).values
    print(f"{extractor.facts}")
    print("| images in each set | distance, mean of 5 pairs | range |")
    print("| --- | --- | --- |")
    for count in COUNTS:
        found = []
        for seed in range(PAIRS):
            order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
            pair = (features[order[:count]], features[order[count : 2 * count]])
            found.append(frechet_distance(*mean_and_covariance(pair[0]), *mean_and_covariance(pair[1])).item())
        print(f"| {count:,} | {sum(found) / PAIRS:.3g} | {min(found):.3g} to {max(found):.3g} |")


if __name__ == "__main__":
    main()
