"""Quality of generated digits, by a classifier of MNIST.

    GANKIT_DATA=... python benchmarks/mnist_classifier.py train classifier.safetensors
    GANKIT_DATA=... python benchmarks/mnist_classifier.py evaluate RUN/generator.safetensors classifier.safetensors

`train` trains the classifier for four epochs on the 60,000 training images, 2 minutes on 2 CPU cores, and prints its
accuracy on the 10,000 test images. Quote the accuracy with every figure of the classifier.

`evaluate` samples 200 images of each class from a generator file, in evaluation mode. It prints the share of images
that the classifier assigns to the requested digit, overall and per digit, and the Frechet distance (Heusel 2017)
between the classifier's 128 features of the generated images and of the test images. The distance of the training
images to the test images is printed with it. Distances compare only for the same classifier.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from timing import parser_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gankit.sampling.sampler import Sampler
from gankit_plugins.data.mnist import Mnist
from gankit_plugins.metric.frechet_distance import frechet_distance, mean_and_covariance

EPOCHS, BATCH, RATE = 4, 128, 2e-3


class Classifier(nn.Module):
    """Four convolutions, 128 features, 10 classes."""

    def __init__(self) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after), nn.ReLU()]

        maps = [*block(1, 32, 1), *block(32, 32, 2), *block(32, 64, 1), *block(64, 64, 2)]
        self.features = nn.Sequential(*maps, nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU())
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, 128) and logits (B, 10) of images (B, 1, 28, 28) uint8."""
        features = self.features(images.float() / 127.5 - 1)
        return features, self.head(self.dropout(features))


@torch.no_grad()
def classify(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return features (N, 128) and classes (N,) of images (N, 1, 28, 28) uint8, in evaluation mode."""
    classifier.eval()
    outputs = [classifier(chunk) for chunk in images.split(1000)]
    return torch.cat([features for features, _ in outputs]), torch.cat([logits.argmax(1) for _, logits in outputs])


def fit(images: Tensor, labels: Tensor) -> Classifier:
    """Return a classifier that is trained on images."""
    classifier = Classifier()
    steps = len(images) // BATCH
    optimizer = torch.optim.Adam(classifier.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            _, logits = classifier(images[index])
            optimizer.zero_grad()
            cross_entropy(logits, labels[index]).backward()
            optimizer.step()
            schedule.step()
    return classifier


def digits(split: str) -> tuple[Tensor, Tensor]:
    """Return the images and labels of a split of MNIST."""
    images, labels = Mnist(Mnist.Config(split=split)).load_data().load()
    assert labels is not None
    return images, labels


def train(out: Path, seed: int) -> None:
    """Train the classifier, write its file and print its accuracy."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    classifier = fit(*digits("train"))
    images, labels = digits("test")
    accuracy = (classify(classifier, images)[1] == labels).double().mean().item()
    save_file(classifier.state_dict(), out)
    print(f"{out}: {accuracy:.2%} of MNIST's test set, after {time.perf_counter() - start:.0f} s")


def evaluate(generator: Path, classifier_file: Path, per_class: int, seed: int) -> None:
    """Print the accuracy and the Frechet distance of generated images."""
    classifier = Classifier()
    classifier.load_state_dict(load_file(classifier_file))
    sampler = Sampler.load(generator, device="cpu")
    names = sampler.spec.class_names
    count = per_class * max(1, len(names))
    images, labels = sampler.sample(count, seed=seed)
    features, classes = classify(classifier, images)
    test_images, test_labels = digits("test")
    test_features, test_classes = classify(classifier, test_images)
    train_images, train_labels = digits("train")
    accuracy = (test_classes == test_labels).double().mean().item()
    print(f"classifier: {accuracy:.2%} of MNIST's test set; {count} images, seed {seed}, evaluation mode")
    if labels is None:
        counts = torch.bincount(classes, minlength=10).tolist()
        print("digits: " + "  ".join(f"{digit}: {number}" for digit, number in enumerate(counts)))
    else:
        requested = torch.tensor([int(name) for name in names])[labels]
        shares = {d: (classes[requested == d] == d).double().mean().item() for d in requested.unique().tolist()}
        print("as requested: " + "  ".join(f"{digit}: {share:.1%}" for digit, share in shares.items()))
        print(f"mean {sum(shares.values()) / len(shares):.2%}, worst {min(shares.values()):.1%}")
        # The real images are of the requested digits only.
        test_features = test_features[torch.isin(test_labels, requested)]
        train_images = train_images[torch.isin(train_labels, requested)]
    train_features, _ = classify(classifier, train_images[:10_000])
    test = mean_and_covariance(test_features)
    distance, baseline = (frechet_distance(*mean_and_covariance(of), *test).item() for of in (features, train_features))
    print(
        f"Frechet distance to the test set: {distance:.1f} "
        f"(first {len(train_features):,} training images: {baseline:.1f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the classifier")
    training.add_argument("out", type=Path, help="file of the classifier")
    evaluation = commands.add_parser("evaluate", help="evaluate a generator")
    evaluation.add_argument("generator", type=Path, help="generator file of a run")
    evaluation.add_argument("classifier", type=Path, help="file of the classifier")
    evaluation.add_argument("--each", type=int, default=200, help="images of each class")
    for command in (training, evaluation):
        command.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.command == "train":
        train(given.out, given.seed)
    else:
        evaluate(given.generator, given.classifier, given.each, given.seed)


if __name__ == "__main__":
    main()
