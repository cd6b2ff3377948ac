"""A small classifier, trained once on the dataset itself."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gankit import Dataset, Extractor, Features, Plugin, Settings, disk_cache, hookimpl

BATCH, RATE = 128, 2e-3
"""Images in a step; the highest rate of the steps."""

HELD_OUT, MOST = 0.1, 60_000
"""Share of the images that are kept apart to test it; images of the dataset that are looked at, at most."""

WIDTH, FEATURES = 32, 128
VERSION = 4
"""Of what is below. Classifiers of another version are trained anew."""

WIDEST = 32
"""Pixels to a side that it looks at: of larger images, squares of pixels are averaged. With all pixels of 64x64, four
times the work, it would learn for minutes on a CPU."""

TURNS = ("0", "90", "180", "270")
"""Without labels: which way an image was turned."""


class SmallClassifier(nn.Module):
    """Convolutions that halve the image until it is 7 pixels wide or less, 128 features, and classes.

    Args:
        channels, resolution: of the images.
        classes: K.
    """

    def __init__(self, channels: int, resolution: int, classes: int) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after), nn.ReLU()]

        square = -(-resolution // WIDEST)
        width, side = WIDTH, -(-resolution // square)
        maps: list[nn.Module] = [nn.AvgPool2d(square, ceil_mode=True)] if square > 1 else []
        maps += block(channels, width, 1)
        while side > 7:
            wider = min(2 * width, 4 * WIDTH)
            maps += block(width, wider, 2)
            width, side = wider, -(-side // 2)
        self.features = nn.Sequential(*maps, nn.Flatten(), nn.Linear(width * side**2, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, R, R) uint8 to features (B, 128) and logits (B, K)."""
        features = self.features(images.float() / 127.5 - 1)
        return features, self.head(features)


def turned(images: Tensor, quarters: Tensor) -> Tensor:
    """Images turned by quarters, counterclockwise: what a classifier learns from without labels (Gidaris 2018)."""
    return torch.stack([image.rot90(int(q), (1, 2)) for image, q in zip(images, quarters, strict=True)])


@dataclass(frozen=True)
class Lesson:
    """Which pictures a classifier is shown, and what it is to see in them.

    A picture is an image or, by channel, a channel of one: channel c of image n has the number n C + c. Pictures are
    taken out of the images when they are looked at, as these may be many and lie on disk.
    """

    images: Tensor
    """(N, C, R, R) uint8."""

    labels: Tensor | None
    """(N,) of the images; None: it is to see which way an image was turned."""

    classes: int
    """Of a picture."""

    by_channel: bool

    @property
    def each(self) -> int:
        """Pictures in an image."""
        return self.images.shape[1] if self.by_channel else 1

    def upright(self, numbers: Tensor) -> Tensor:
        """(B,) numbers to (B, C or 1, R, R) pictures that nobody has turned."""
        if self.by_channel:
            return self.images[numbers // self.each, numbers % self.each][:, None]
        return self.images[numbers]

    def shown(self, numbers: Tensor, turning: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(B,) numbers to pictures and (B,) right answers.

        Args:
            numbers: of the pictures.
            turning: draws which way each image is turned, where that is to be seen: few images, always turned the
                same way, would be learnt by heart. None: by its number, so that a test is always the same.
        """
        if self.labels is None:
            ways = len(TURNS)
            quarters = numbers % ways if turning is None else torch.randint(ways, numbers.shape, generator=turning)
            return turned(self.upright(numbers), quarters), quarters
        # Of the digits that spell a label, the first channel has the first.
        place = self.each - 1 - numbers % self.each
        return self.upright(numbers), self.labels[numbers // self.each] // self.classes**place % self.classes

    def alike(self, numbers: Tensor) -> Tensor:
        """(B,) numbers to (B,) others, from 0, that are the same for equal pictures."""
        found: dict[bytes, int] = {}
        pictures = (picture for some in numbers.split(BATCH) for picture in self.upright(some))
        return torch.tensor([found.setdefault(hashed(picture), len(found)) for picture in pictures])

    def digest(self, rows: Tensor) -> str:
        """A hash of some images and their labels."""
        seen = hashlib.sha256()
        for some in rows.split(BATCH):
            seen.update(hashed(self.images[some]))
        if self.labels is not None:
            seen.update(hashed(self.labels[rows]))
        return seen.hexdigest()


def hashed(tensor: Tensor) -> bytes:
    return hashlib.sha256(tensor.contiguous().numpy().data).digest()


def divided(groups: Tensor, randomness: torch.Generator) -> tuple[Tensor, Tensor]:
    """What to train on and what to test with, in a random order: (A,) and (B,) indices. Groups are left whole.

    Args:
        groups: (N,) numbers. A tenth of the groups is kept apart; a single one is for both.
    """
    found, group = groups.unique(return_inverse=True)
    count = len(found)
    place = torch.randperm(count, generator=randomness).argsort()[group]
    order = place.argsort(stable=True)
    apart = place[order] < max(1, int(HELD_OUT * count))
    return order[~apart] if count > 1 else order, order[apart]


def trained(
    lesson: Lesson, rows: Tensor, steps: int, device: torch.device, seed: int
) -> tuple[SmallClassifier, dict[str, float]]:
    """A classifier, and its shares of right answers on what it was not trained on: `accuracy` on pictures and, by
    channel, `whole` on images of which it knows no channel, if there are any.

    Args:
        lesson: of which the first picture in each image is learnt from.
        rows: (n,) images to look at.
        steps, device, seed: how.
    """
    randomness = torch.Generator().manual_seed(seed)
    # Of its own, so that with labels nothing depends on it.
    turning = torch.Generator().manual_seed(seed + 1)
    numbers = rows[:, None] * lesson.each + torch.arange(lesson.each)
    groups = lesson.alike(numbers.flatten()).view_as(numbers)
    train, test = divided(groups[:, 0], randomness)
    torch.manual_seed(seed)
    shape = lesson.upright(numbers[0, :1]).shape
    classifier = SmallClassifier(shape[1], shape[-1], lesson.classes).to(device)
    optimizer = torch.optim.Adam(classifier.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        index = train[torch.randint(len(train), (BATCH,), generator=randomness)]
        images, answers = lesson.shown(numbers[index, 0], turning)
        _, logits = classifier(images.to(device))
        optimizer.zero_grad()
        cross_entropy(logits, answers.to(device)).backward()
        optimizer.step()
        schedule.step()
    classifier.eval()
    accuracy = {"accuracy": right(classifier, lesson, numbers[test, 0], device).double().mean().item()}
    unknown = ~torch.isin(groups, groups[train, 0]).any(1)
    if lesson.by_channel and unknown.any():
        of_channels = right(classifier, lesson, numbers[unknown].flatten(), device).view(-1, lesson.each)
        accuracy["whole"] = of_channels.all(1).double().mean().item()
    return classifier, accuracy


@torch.no_grad()
def right(classifier: SmallClassifier, lesson: Lesson, numbers: Tensor, device: torch.device) -> Tensor:
    """(B,) whether it is right about the pictures of these numbers."""
    shown = (lesson.shown(some) for some in numbers.split(BATCH))
    return torch.cat([classifier(images.to(device))[1].argmax(1).cpu() == answers for images, answers in shown])


def spelt_out(features: Tensor, logits: Tensor, channels: int) -> Features:
    """Features and logits of each channel, (B C, F) and (B C, K), as those of whole images: (B, C F) and (B, K^C).

    Channels are told apart on their own, so the log-probabilities of what they spell add up.
    """
    by_channel = logits.log_softmax(1).unflatten(0, (-1, channels))
    spelt = by_channel[:, 0]
    for channel in range(1, channels):
        spelt = (spelt[:, :, None] + by_channel[:, channel, None, :]).flatten(1)
    return Features(features.unflatten(0, (-1, channels)).flatten(1), spelt)


class DatasetClassifier(Plugin):
    """Features of a small classifier that is trained once on the dataset, and kept for every later run.

    Source: the practice of Lucic 2018 and Binkowski 2018 for MNIST, whose digits Inception does not know. It learns the
    dataset's classes or, without labels, which way an image was turned (Gidaris 2018), from 60,000 images at most,
    drawn at random. Its share of right answers on a tenth of the images, which it was not trained on, stands beside
    every number; equal images are kept apart together. By channel there are two: of one channel, and of the whole
    label, on images with no channel that it was trained on.

    When to use: data that Inception does not fit, and machines without it.
    When not: to compare with papers, whose classifier was another.
    """

    name = "classifier"
    kind = "extractor"

    class Config(Settings):
        steps: int = Field(800, ge=1, description="of training, of 128 images each")
        seed: int = Field(0, ge=0, lt=2**63, description="of its first weights, of the choice and the order of images")
        by_channel: bool = Field(False, description="each channel is an image of its own, as in stacked_mnist")

    config: Config

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        lesson = self.lesson(dataset)
        steps, seed = self.config.steps, self.config.seed
        order = torch.randperm(len(lesson.images), generator=torch.Generator().manual_seed(seed))
        rows = order[:MOST].sort().values
        learnt = "quarter turns" if lesson.labels is None else "channels" if lesson.by_channel else "classes"

        def train() -> tuple[dict[str, Tensor], dict[str, float]]:
            # It takes up to minutes, which nobody should have to wonder about.
            print("training a small classifier to measure with; it is kept for the next time", file=sys.stderr)
            classifier, accuracy = trained(lesson, rows, steps, device, seed)
            return {name: t.cpu() for name, t in classifier.state_dict().items()}, accuracy

        key = [VERSION, lesson.digest(rows), learnt, lesson.classes, steps, seed, device.type]
        weights, accuracy = disk_cache("classifier", key, train)
        channels = 1 if lesson.by_channel else dataset.channels
        classifier = SmallClassifier(channels, dataset.resolution, lesson.classes)
        classifier.load_state_dict(weights)
        classifier.to(device).eval()

        def look(images: Tensor) -> Features:
            with torch.no_grad():
                if not lesson.by_channel:
                    return Features(*classifier(images.to(device)))
                values, logits = classifier(images.to(device).flatten(0, 1)[:, None])
                return spelt_out(values, logits, dataset.channels)

        digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
        of_what = ", one channel" if lesson.by_channel else ""
        about = {
            "extractor": f"classifier of {learnt} {digest[:12]}",
            f"classifier accuracy{of_what}": round(accuracy["accuracy"], 4),
            "resize": "none",
        }
        if "whole" in accuracy:
            about["classifier accuracy, whole label"] = round(accuracy["whole"], 4)
        return Extractor(about, look, dataset.class_names)

    def lesson(self, dataset: Dataset) -> Lesson:
        """What there is to learn about a dataset.

        Raises ValueError for points, and for what is no stack of digits, by channel.
        """
        images, labels = dataset.load()
        if images.dtype != torch.uint8:
            raise ValueError('a classifier sees pictures; for points take extractor = "pixels"')
        classes = len(dataset.class_names) if labels is not None else len(TURNS)
        if not self.config.by_channel:
            return Lesson(images, labels, classes, by_channel=False)
        digits = round(classes ** (1 / dataset.channels))
        if labels is None or digits**dataset.channels != classes:
            raise ValueError(
                f"by_channel: {len(dataset.class_names)} classes are no {dataset.channels} digits; leave it out"
            )
        return Lesson(images, labels, digits, by_channel=True)
