"""A small classifier, trained once on the dataset itself."""

from __future__ import annotations

import hashlib

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gankit import Dataset, Extractor, Features, Plugin, Settings, hookimpl, kept

BATCH, RATE = 128, 2e-3
"""Images in a step; the highest rate of the steps."""

HELD_OUT, MOST = 0.1, 60_000
"""Share of the images that are kept apart to test it; images of the dataset that are looked at."""

WIDTH, FEATURES = 32, 128
VERSION = 1
"""Of what is below. Classifiers of another version are trained anew."""

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

        width, side = WIDTH, resolution
        maps = block(channels, width, 1)
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


def turned(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images turned by quarters, one after the other, and by how many: what a classifier learns from without labels
    (Gidaris 2018)."""
    quarters = torch.arange(len(images)) % len(TURNS)
    return torch.stack([image.rot90(int(q), (1, 2)) for image, q in zip(images, quarters, strict=True)]), quarters


def trained(
    images: Tensor, labels: Tensor, classes: int, steps: int, device: torch.device, seed: int
) -> tuple[SmallClassifier, float]:
    """A classifier, and its share of right answers on images that it was not trained on.

    Args:
        images: (N, C, R, R) uint8.
        labels: (N,) in [0, classes).
        classes, steps, device, seed: how.
    """
    randomness = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=randomness)
    apart = max(1, int(HELD_OUT * len(images)))
    test, train = order[:apart], order[apart:] if len(images) > 1 else order
    torch.manual_seed(seed)
    classifier = SmallClassifier(images.shape[1], images.shape[-1], classes).to(device)
    optimizer = torch.optim.Adam(classifier.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        index = train[torch.randint(len(train), (BATCH,), generator=randomness)]
        _, logits = classifier(images[index].to(device))
        optimizer.zero_grad()
        cross_entropy(logits, labels[index].to(device)).backward()
        optimizer.step()
        schedule.step()
    classifier.eval()
    with torch.no_grad():
        seen = torch.cat([classifier(images[chunk].to(device))[1].argmax(1).cpu() for chunk in test.split(BATCH)])
    return classifier, (seen == labels[test]).double().mean().item()


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
    dataset's classes or, without labels, which way an image was turned (Gidaris 2018). Its share of right answers on a
    tenth of the images, which it was not trained on, stands beside every number.

    When to use: data that Inception does not fit, and machines without it.
    When not: to compare with papers, whose classifier was another.
    """

    name = "classifier"
    kind = "extractor"
    api_version = 2

    class Config(Settings):
        steps: int = Field(800, ge=1, description="of training, of 128 images each")
        seed: int = Field(0, ge=0, lt=2**63, description="of its first weights and of the order of images")
        by_channel: bool = Field(False, description="each channel is an image of its own, as in stacked_mnist")

    config: Config

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        images, labels = dataset.load()
        if images.dtype != torch.uint8:
            raise ValueError('a classifier sees pictures; for points take extractor = "pixels"')
        channels = images.shape[1] if self.config.by_channel else 1
        names = dataset.class_names or TURNS
        classes = len(names)
        if labels is None:
            images, targets = turned(images[:MOST])
        else:
            images, targets = images[:MOST], labels[:MOST]
        if self.config.by_channel:
            classes = round(classes ** (1 / channels))
            if labels is None or classes**channels != len(names):
                raise ValueError(f"by_channel: {len(names)} classes are no {channels} digits; leave it out")
            # Of the digits that spell a label, the first channel has the first.
            images, targets = images[:, :1], targets // classes ** (channels - 1)
        steps, seed = self.config.steps, self.config.seed

        def train() -> tuple[dict[str, Tensor], dict[str, float]]:
            classifier, accuracy = trained(images, targets, classes, steps, device, seed)
            return {name: t.cpu() for name, t in classifier.state_dict().items()}, {"accuracy": accuracy}

        seen = hashlib.sha256(images.contiguous().numpy().data)
        seen.update(targets.contiguous().numpy().data)
        weights, facts = kept("classifier", [VERSION, seen.hexdigest(), classes, steps, seed, device.type], train)
        classifier = SmallClassifier(images.shape[1], images.shape[-1], classes)
        classifier.load_state_dict(weights)
        classifier.to(device).eval()

        def look(shown: Tensor) -> Features:
            with torch.no_grad():
                if not self.config.by_channel:
                    return Features(*classifier(shown.to(device)))
                values, logits = classifier(shown.to(device).flatten(0, 1)[:, None])
                return spelt_out(values, logits, channels)

        digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
        learnt = "quarter turns" if not dataset.class_names else "channels" if self.config.by_channel else "classes"
        about = {
            "extractor": f"classifier of {learnt} {digest[:12]}",
            "classifier accuracy": round(facts["accuracy"], 4),
            "resize": "none",
        }
        return Extractor(about, look, dataset.class_names)
