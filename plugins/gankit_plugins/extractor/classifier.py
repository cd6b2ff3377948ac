"""Feature extractor that uses a small classifier. gankit trains this classifier on the dataset itself."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from rich.progress import MofNCompleteColumn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gankit import Dataset, Extractor, Features, Plugin, Settings, disk_cache, hookimpl, progress_bar
from gankit_plugins.extractor.class_head import images_and_labels, is_at_chance

BATCH, LEARNING_RATE = 128, 2e-3
"""Batch size in training, and maximum learning rate of the one-cycle schedule."""

TEST_PROPORTION, MAX_IMAGES = 0.1, 60_000
"""Proportion of images in the test set, and maximum total number of images in the training and test sets."""

WIDTH, FEATURES = 32, 128
VERSION = 5
"""Version of the classifier and its training. A cached classifier with another version is not used."""

MAX_RESOLUTION = 32
"""Maximum image size, in pixels per side, at the first convolution.

Average pooling downsamples larger images. Without this limit, training on 64x64 images would take minutes on a CPU,
four times as long as on 32x32 images.
"""

ROTATIONS = ("0", "90", "180", "270")
"""Class names for a dataset without labels: the rotations of an image, in degrees."""


class SmallClassifier(nn.Module):
    """Convolutional classifier with 128 features and K logits. Its last feature maps have at most 7x7 pixels."""

    def __init__(self, channels: int, resolution: int, classes: int) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after), nn.ReLU()]

        pool = -(-resolution // MAX_RESOLUTION)
        width, side = WIDTH, -(-resolution // pool)
        maps: list[nn.Module] = [nn.AvgPool2d(pool, ceil_mode=True)] if pool > 1 else []
        maps += block(channels, width, 1)
        while side > 7:
            doubled = min(2 * width, 4 * WIDTH)
            maps += block(width, doubled, 2)
            width, side = doubled, -(-side // 2)
        self.features = nn.Sequential(*maps, nn.Flatten(), nn.Linear(width * side**2, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, 128) and logits (B, K) of images (B, C, H, W) uint8."""
        features = self.features(images.float() / 127.5 - 1)
        return features, self.head(features)


def to_square(images: Tensor) -> Tensor:
    """Resize images (B, C, H, W) uint8 to squares (B, C, S, S), where S is the larger side. Squares are unchanged."""
    height, width = images.shape[2:]
    if height == width:
        return images
    size = max(height, width)
    return torch.cat(
        [
            F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True).round().to(torch.uint8)
            for part in images.split(500)
        ]
    )


def rotate(images: Tensor, quarters: Tensor) -> Tensor:
    """Rotate images (B, C, H, W) counter-clockwise. `quarters` (B,) contains the number of quarter turns of each image.

    Source: Gidaris 2018.
    """
    return torch.stack([image.rot90(int(q), (1, 2)) for image, q in zip(images, quarters, strict=True)])


@dataclass(frozen=True)
class ClassifierData:
    """Inputs and targets of a classifier.

    An input is an image. With `by_channel`, an input is one channel of an image: channel c of image n has the index
    `n * C + c`. Inputs are read from `images` only when they are used, because `images` may be a large file on the
    disk.
    """

    images: Tensor
    """Images of the dataset, (N, C, H, W) uint8."""

    labels: Tensor | None
    """Labels of the images, (N,). None if the images have no labels. The targets are then rotations."""

    classes: int
    """K, the number of classes. With `by_channel`, K is the number of classes of one channel."""

    by_channel: bool

    @property
    def inputs_per_image(self) -> int:
        return self.images.shape[1] if self.by_channel else 1

    def inputs(self, index: Tensor) -> Tensor:
        """Return the inputs at indices (B,) without rotation: (B, C, H, W), or (B, 1, H, W) with `by_channel`."""
        if self.by_channel:
            return self.images[index // self.inputs_per_image, index % self.inputs_per_image][:, None]
        return self.images[index]

    def examples(self, index: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return the inputs at indices (B,), and their targets (B,).

        Without labels, each input is rotated, and its rotation is the target. With `generator`, the rotations are
        random, because a classifier would memorise a small dataset with fixed rotations. Without `generator`, the index
        determines the rotation, so the test set is always the same.
        """
        if self.labels is None:
            ways = len(ROTATIONS)
            quarters = index % ways if generator is None else torch.randint(ways, index.shape, generator=generator)
            return rotate(self.inputs(index), quarters), quarters
        # With `by_channel`, the label of an image, written in base K, has one digit for each channel, in the order of
        # the channels. The target of an input is the digit of its channel. Without `by_channel`, the target is the
        # label.
        place = self.inputs_per_image - 1 - index % self.inputs_per_image
        return self.inputs(index), self.labels[index // self.inputs_per_image] // self.classes**place % self.classes

    def groups(self, index: Tensor) -> Tensor:
        """Return the group numbers (B,) of the inputs at indices (B,). Only identical inputs are in the same group."""
        numbers: dict[bytes, int] = {}
        inputs = (one for some in index.split(BATCH) for one in self.inputs(some))
        return torch.tensor([numbers.setdefault(sha256(one), len(numbers)) for one in inputs])

    def digest(self, rows: Tensor) -> str:
        """Return a hash of the images and labels at indices (n,). The hash identifies the data in the cache."""
        digest = hashlib.sha256()
        for some in rows.split(BATCH):
            digest.update(sha256(self.images[some]))
        if self.labels is not None:
            digest.update(sha256(self.labels[rows]))
        return digest.hexdigest()


def sha256(tensor: Tensor) -> bytes:
    """Return the SHA-256 of a tensor's values."""
    return hashlib.sha256(tensor.contiguous().numpy().data).digest()


def train_test_split(groups: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the indices of the training set and of the test set, each in random order.

    Inputs with the same number in `groups` (N,) are in the same set. The test set has a tenth of the groups, but at
    least one group. If there is only one group, it is in both sets.
    """
    unique, group = groups.unique(return_inverse=True)
    count = len(unique)
    position = torch.randperm(count, generator=generator).argsort()[group]
    order = position.argsort(stable=True)
    in_test = position[order] < max(1, int(TEST_PROPORTION * count))
    return order[~in_test] if count > 1 else order, order[in_test]


def train_classifier(
    data: ClassifierData, rows: Tensor, steps: int, device: torch.device, seed: int
) -> tuple[SmallClassifier, dict[str, float]]:
    """Train a classifier, and return it with its accuracies on the test set.

    `accuracy` is the accuracy on single inputs. `at_chance` is 1 if `accuracy` is not significantly above chance. With
    `by_channel` there is also `whole`: the proportion of images whose channels are all classified correctly. `whole` is
    computed from the images whose channels are all absent from the training set. If there are no such images, `whole`
    is missing.

    Only images at the indices `rows` (n,) are used. Training and `accuracy` use only the first input of each image.
    """
    generator = torch.Generator().manual_seed(seed)
    # Draw rotations with a second random number generator, so that these draws do not change the order of the images.
    rotations = torch.Generator().manual_seed(seed + 1)
    index = rows[:, None] * data.inputs_per_image + torch.arange(data.inputs_per_image)
    groups = data.groups(index.flatten()).view_as(index)
    train, test = train_test_split(groups[:, 0], generator)
    torch.manual_seed(seed)
    shape = data.inputs(index[0, :1]).shape
    classifier = SmallClassifier(shape[1], shape[-1], data.classes).to(device)
    optimizer = torch.optim.Adam(classifier.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    with progress_bar("training the classifier of the metrics", steps, MofNCompleteColumn()) as bar:
        for _ in range(steps):
            batch = train[torch.randint(len(train), (BATCH,), generator=generator)]
            images, targets = data.examples(index[batch, 0], rotations)
            _, logits = classifier(images.to(device))
            optimizer.zero_grad()
            cross_entropy(logits, targets.to(device)).backward()
            optimizer.step()
            schedule.step()
            bar.advance(bar.task_ids[0])
    classifier.eval()
    right = correct(classifier, data, index[test, 0], device)
    targets = torch.cat([data.examples(some)[1] for some in index[test, 0].split(BATCH)])
    accuracy = {"accuracy": right.double().mean().item(), "at_chance": float(is_at_chance(right, targets))}
    unknown = ~torch.isin(groups, groups[train, 0]).any(1)
    if data.by_channel and unknown.any():
        by_channel = correct(classifier, data, index[unknown].flatten(), device).view(-1, data.inputs_per_image)
        accuracy["whole"] = by_channel.all(1).double().mean().item()
    return classifier, accuracy


@torch.no_grad()
def correct(classifier: SmallClassifier, data: ClassifierData, index: Tensor, device: torch.device) -> Tensor:
    """Return a bool tensor (B,) for the inputs with the indices (B,): True where the predicted class is correct."""
    examples = (data.examples(some) for some in index.split(BATCH))
    return torch.cat([classifier(images.to(device))[1].argmax(1).cpu() == targets for images, targets in examples])


def combine_channels(features: Tensor, logits: Tensor, channels: int) -> Features:
    """Combine the features (B C, F) and logits (B C, K) of single channels into features and logits of whole images.

    Returns:
        Features (B, C F), and the log-probabilities (B, K^C) of all combinations of classes. The channels are
        classified independently, so their log-probabilities are added.
    """
    by_channel = logits.log_softmax(1).unflatten(0, (-1, channels))
    combined = by_channel[:, 0]
    for channel in range(1, channels):
        combined = (combined[:, :, None] + by_channel[:, channel, None, :]).flatten(1)
    return Features(features.unflatten(0, (-1, channels)).flatten(1), combined)


class DatasetClassifier(Plugin):
    """Features of a small classifier that is trained once on the dataset and cached.

    The classifier learns the dataset's classes or, without labels, the rotation of an image (Gidaris 2018), from at
    most 60,000 random images. A tenth of these images, without copies of training images, is the test set. The accuracy
    on the test set is logged with the metrics. If this accuracy is not above chance, metrics that need classes are
    not computed. With `by_channel`, each channel is classified separately. The accuracy on whole images is then logged
    too. It is computed from images whose channels are all absent from the training set.

    Source: Lucic 2018 and Binkowski 2018 use such a classifier for MNIST, because Inception was not trained on digits.

    When to use: for images that are unlike ImageNet's images, or on machines without the Inception network.
    When not: to compare values with papers, because papers use another classifier.
    """

    name = "classifier"
    kind = "extractor"

    class Config(Settings):
        steps: int = Field(800, ge=1, description="number of training steps of 128 images")
        seed: int = Field(0, ge=0, lt=2**63, description="random seed of the weights and of the order of the images")
        by_channel: bool = Field(False, description="whether each channel is an image, as in stacked_mnist")

    config: Config

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        data = self.data(dataset)
        steps, seed = self.config.steps, self.config.seed
        order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(seed))
        rows = order[:MAX_IMAGES].sort().values
        target = "quarter turns" if data.labels is None else "channels" if data.by_channel else "classes"

        def train() -> tuple[dict[str, Tensor], dict[str, float]]:
            # Training may take minutes, so explain the delay to the user.
            print("training the small classifier of the metrics; it is cached for later runs", file=sys.stderr)
            classifier, accuracy = train_classifier(data, rows, steps, device, seed)
            return {name: t.cpu() for name, t in classifier.state_dict().items()}, accuracy

        key = [VERSION, data.digest(rows), target, data.classes, steps, seed, device.type]
        weights, accuracy = disk_cache("classifier", key, train)
        channels = 1 if data.by_channel else dataset.channels
        classifier = SmallClassifier(channels, data.images.shape[-1], data.classes)
        classifier.load_state_dict(weights)
        classifier.to(device).eval()

        def extract(images: Tensor) -> Features:
            images = to_square(images)
            with torch.no_grad():
                if not data.by_channel:
                    return Features(*classifier(images.to(device)))
                values, logits = classifier(images.to(device).flatten(0, 1)[:, None])
                return combine_channels(values, logits, dataset.channels)

        digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
        suffix = ", one channel" if data.by_channel else ""
        facts = {
            "extractor": f"classifier of {target} {digest[:12]}",
            f"classifier accuracy{suffix}": round(accuracy["accuracy"], 4),
            "resize": "none",
        }
        if "whole" in accuracy:
            facts["classifier accuracy, whole label"] = round(accuracy["whole"], 4)
        if accuracy["at_chance"]:
            facts["classes"] = "accuracy at chance: no class metrics"
            return Extractor(facts, lambda images: Features(extract(images).values))
        return Extractor(facts, extract, dataset.class_names)

    def data(self, dataset: Dataset) -> ClassifierData:
        """Return the classifier's inputs and targets for a dataset."""
        images, labels = images_and_labels(dataset)
        if images.dtype != torch.uint8:
            raise ValueError('the data are not uint8 images, which a classifier takes; set extractor = "pixels"')
        images = to_square(images)
        classes = len(dataset.class_names) if labels is not None else len(ROTATIONS)
        if not self.config.by_channel:
            return ClassifierData(images, labels, classes, by_channel=False)
        digits = round(classes ** (1 / dataset.channels))
        if labels is None or digits**dataset.channels != classes:
            raise ValueError(
                f"by_channel: {len(dataset.class_names)} classes are not combinations of {dataset.channels} channels; "
                "remove this setting"
            )
        return ClassifierData(images, labels, digits, by_channel=True)
