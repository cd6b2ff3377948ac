"""Feature extractor whose networks are part of gankit. All machines get the same features, without a download."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import interpolate

from gankit import Dataset, Extractor, Features, Plugin, disk_cache, hookimpl
from gankit_plugins.extractor.class_head import discriminant, images_and_labels, is_at_chance
from gankit_plugins.extractor.classifier import sha256, train_test_split
from gankit_plugins.extractor.feature_network import FeatureNetwork

NETWORKS = {1: ("grey", 28), 3: ("colour", 32)}
"""Name of the network, and side of its input images in pixels, by number of image channels."""

HEAD_IMAGES, HEAD_SEED = 3000, 0
"""Maximum number of images for the class head (a linear classifier), and random seed for the choice of these images."""

VERSION = 1
"""Version of the class head (a linear classifier). A cached class head with another version is not used."""

CHUNK = 64
"""Number of images in a forward pass.

On a CPU, larger chunks do not fit into the caches and take up to 1.7 times as long.
"""


@cache
def load_network(channels: int) -> tuple[FeatureNetwork, dict[str, str], str]:
    """Return the network for images with `channels` channels, its metadata, and the SHA-256 of its file."""
    path = Path(__file__).with_name(f"{NETWORKS[channels][0]}.safetensors")
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        facts = dict(file.metadata() or {})
    network = FeatureNetwork(channels, classes=10)
    network.load_state_dict(weights)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return network.eval().requires_grad_(False), facts, digest


class Bundled(Plugin):
    """Features of a small bundled network, trained on CIFAR-10 (for colour images) or on MNIST (for grey images).

    Images are resized to 32x32 (colour) or 28x28 (grey) pixels; finer details do not affect the metrics. The 128
    features are the averages of the last feature maps. Two machines get the same features up to rounding. If the
    dataset has classes, a linear classifier of its classes (linear discriminant analysis) is computed from the features
    of up to 3,000 real images. A tenth of these images is the test set. The accuracy on the test set is logged with the
    metrics. If this accuracy is not above chance, metrics that need classes are not computed.

    Source: Lucic 2018 and Binkowski 2018 use such a network for MNIST. Linear discriminant analysis is from Fisher
    1936.

    When to use: to compare runs and generators in seconds, on any machine.
    When not: to compare with the FID in papers; use `inception`. For classes that differ only in details, use
    `classifier`.
    """

    name = "bundled"
    kind = "extractor"

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        images, labels = images_and_labels(dataset)
        if images.dtype != torch.uint8:
            raise ValueError('the data are not uint8 images, which the bundled networks take; set extractor = "pixels"')
        if dataset.channels not in NETWORKS:
            raise ValueError(
                f"the images have {dataset.channels} channels, and the bundled networks take 1 or 3; set extractor = "
                '"classifier"'
            )
        loaded, facts, digest = load_network(dataset.channels)
        name, size = NETWORKS[dataset.channels]
        network = deepcopy(loaded).to(device)  # a copy, because the cached network may be needed on another device

        def features_of(images: Tensor) -> Tensor:
            with torch.no_grad():
                inputs = (resize(part.to(device), size) for part in images.split(CHUNK))
                parts = (network(part.contiguous(memory_format=torch.channels_last))[0] for part in inputs)
                return torch.cat(list(parts)).cpu()

        protocol: dict[str, str | int | float] = {
            "extractor": f"bundled {name} {facts['version']} {digest[:12]}",
            "trained on": f"{facts['training data']}, accuracy {facts['accuracy']}",
            "resize": f"bilinear to {size}",
        }
        if labels is None:
            return Extractor(protocol, lambda images: Features(features_of(images)))
        weight, bias, accuracy, useful = class_head(images, labels, len(dataset.class_names), digest, features_of)
        protocol["class accuracy"] = round(accuracy, 4) if useful else f"{accuracy:.4f}, at chance: no class metrics"
        if not useful:
            return Extractor(protocol, lambda images: Features(features_of(images)))

        def extract(images: Tensor) -> Features:
            values = features_of(images)
            return Features(values, (values.double() @ weight.T + bias).float())

        return Extractor(protocol, extract, dataset.class_names)


def resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 images (B, C, H, W) to [-1, 1], and resize them to (B, C, size, size).

    The interpolation is bilinear, with antialiasing.
    """
    inputs = images.float() / 127.5 - 1
    if inputs.shape[-2:] == (size, size):
        return inputs
    return interpolate(inputs, (size, size), mode="bilinear", antialias=True)


def class_head(
    images: Tensor, labels: Tensor, classes: int, network_digest: str, features_of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, float, bool]:
    """Fit a linear classifier of a dataset's classes. Return its weight (K, F), bias (K,), test accuracy and a bool.

    The bool is True if the accuracy is significantly above chance. The classifier is cached on the disk.

    Args:
        images: images of the dataset, (N, C, H, W) uint8.
        labels: classes of the images, (N,).
        classes: K.
        network_digest: hash of the network, for the cache.
        features_of: function that returns the features (B, F) of images.
    """
    generator = torch.Generator().manual_seed(HEAD_SEED)
    rows = torch.randperm(len(images), generator=generator)[:HEAD_IMAGES].sort().values
    chosen, targets = images[rows], labels[rows]

    def compute() -> tuple[dict[str, Tensor], dict[str, float | bool]]:
        features = features_of(chosen).double()
        # Put equal images into the same set, training or test, so that copies do not increase the test accuracy.
        numbers: dict[bytes, int] = {}
        groups = torch.tensor([numbers.setdefault(sha256(image), len(numbers)) for image in chosen])
        train, test = train_test_split(groups, generator)
        weight, bias = discriminant(features[train], targets[train], classes)
        correct = (features[test] @ weight.T + bias).argmax(1) == targets[test]
        accuracy = correct.double().mean().item()
        return {"weight": weight, "bias": bias}, {
            "accuracy": accuracy,
            "useful": not is_at_chance(correct, targets[test]),
        }

    key = [VERSION, network_digest, sha256(chosen).hex(), sha256(targets).hex(), classes]
    tensors, facts = disk_cache("class-head", key, compute)
    return tensors["weight"], tensors["bias"], facts["accuracy"], facts["useful"]
