"""How good are a generator's digits? From the generator file alone, in evaluation mode.

    GANKIT_DATA=... python benchmarks/judge_mnist.py RUN/generator.safetensors classifier.safetensors

Draws 200 images of each class and lets a classifier (benchmarks/mnist_classifier.py) say which digit it sees: the
share that is the digit asked for, on the whole and for each class. And the Frechet distance (Heusel 2017) between
the classifier's 128 features of the generated images and of MNIST's test images, in double precision; the training
images' distance to the test images stands beside it. It compares only with distances of the same classifier.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from mnist_classifier import digits, judged, load_classifier
from torch import Tensor

from gankit.sampling.sampler import Sampler


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of (N, F) and (M, F) features, in double precision."""
    a, b = a.double(), b.double()
    S_a, S_b = a.T.cov(), b.T.cov()
    values, vectors = torch.linalg.eigh(S_a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ S_b @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return (apart + S_a.trace() + S_b.trace() - 2 * cross).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path)
    parser.add_argument("classifier", type=Path)
    parser.add_argument("--each", type=int, default=200, help="images of each class")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    classifier = load_classifier(arguments.classifier)
    sampler = Sampler.load(arguments.generator, device="cpu")
    names = sampler.spec.class_names
    count = arguments.each * max(1, len(names))
    images, labels = sampler.sample(count, arguments.seed)
    features, seen = judged(classifier, images)
    test_images, test_labels = digits("test")
    test_features, test_seen = judged(classifier, test_images)
    train_images, train_labels = digits("train")
    accuracy = (test_seen == test_labels).double().mean().item()
    print(f"classifier: {accuracy:.2%} of MNIST's test set; {count} images, seed {arguments.seed}, evaluation mode")
    if labels is not None:
        asked = torch.tensor([int(name) for name in names])[labels]
        shares = [(seen[asked == digit] == digit).double().mean().item() for digit in asked.unique().tolist()]
        print("as asked: " + "  ".join(f"{d}: {s:.1%}" for d, s in zip(asked.unique().tolist(), shares, strict=True)))
        print(f"mean {sum(shares) / len(shares):.2%}, worst {min(shares):.1%}")
        # Both sides of the comparison hold the digits that were drawn, and no others.
        test_features = test_features[torch.isin(test_labels, asked)]
        train_images = train_images[torch.isin(train_labels, asked)]
    else:
        counts = torch.bincount(seen, minlength=10).tolist()
        print("digits seen: " + "  ".join(f"{d}: {n}" for d, n in enumerate(counts)))
    train_features, _ = judged(classifier, train_images[:10_000])
    ours, best = frechet_distance(features, test_features), frechet_distance(train_features, test_features)
    print(f"Frechet distance to the test set: {ours:.1f} (first {len(train_features):,} training images: {best:.1f})")


if __name__ == "__main__":
    main()
