"""Linear classifier that predicts the dataset's classes from features of a network that was trained on other images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gankit import Dataset

SHRINKAGE = 0.01
"""Multiple of the mean variance that is added to the diagonal of the covariance, to keep the covariance invertible."""


def images_and_labels(dataset: Dataset) -> tuple[Tensor, Tensor | None]:
    """Return all images of a dataset and their labels. The labels are None if the images have no classes.

    Raises:
        ValueError: the samples are not images, but for example video.
    """
    if len(dataset.shape) != 3:
        raise ValueError(
            f"a sample of the data has shape {'x'.join(map(str, dataset.shape))}, and this extractor takes images; for "
            'video, set extractor = "bundled_video", for sounds "spectrogram", and for other data "pixels"'
        )
    images, condition, _ = dataset.read()
    return images, condition if dataset.class_names else None


def discriminant(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the weight (K, F) and the bias (K,) of linear discriminant analysis with K classes.

    The method assumes that all classes have the same covariance and the same prior probability. A class without
    features gets a bias of minus infinity.

    Args:
        features: features (N, F).
        labels: class of each feature vector, (N,).
        classes: K.

    Source:
        Fisher 1936; Hastie 2009, equation 4.10.
    """
    features = features.double()
    counts = labels.bincount(minlength=classes)
    means = torch.zeros(classes, features.shape[1], dtype=torch.float64).index_add_(0, labels, features)
    means /= counts.clamp(min=1)[:, None]
    within = features - means[labels]
    covariance = within.T @ within / max(1, len(features) - int((counts > 0).sum()))
    F = len(covariance)
    covariance += (SHRINKAGE * covariance.trace() / F + 1e-12) * torch.eye(F, dtype=torch.float64)
    weight = torch.linalg.solve(covariance, means.T).T
    bias = -(weight * means).sum(1) / 2
    return weight, bias.masked_fill(counts == 0, -torch.inf)


def is_at_chance(correct: Tensor, labels: Tensor) -> bool:
    """Return True if an accuracy is not significantly above the accuracy of always predicting the most frequent class.

    A difference of more than two standard deviations is significant.

    Args:
        correct: for each test image, True if its predicted class is correct, (N,).
        labels: classes of the test images, (N,).
    """
    chance = labels.bincount().max().item() / len(labels)
    return correct.double().mean().item() <= chance + 2 * math.sqrt(chance * (1 - chance) / len(labels))
