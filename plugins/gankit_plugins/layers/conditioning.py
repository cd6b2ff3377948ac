"""Functions that convert conditions, such as class labels, to network inputs, and that check the data's condition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import ClassCondition, InputError, Run, Spec, VectorCondition


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Convert labels (B,) to one-hot vectors (B, classes) in float32, without synchronising the CPU with the GPU."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def numbers_of(condition: Tensor, size: int) -> Tensor:
    """Convert a condition to vectors (B, N), with N = `size`. Labels (B,) become one-hot vectors.

    A condition that already consists of vectors is returned unchanged.
    """
    return one_hot(condition, size) if condition.dim() == 1 else condition


def embedded(condition: Tensor, table: Tensor) -> Tensor:
    """Return the embeddings (B, N) of labels (B,) or vectors (B, K), from a table (K, N).

    A label selects a row of the table. For a vector, the embedding is the sum of all rows, weighted by the components
    of the vector.
    """
    return F.embedding(condition, table) if condition.dim() == 1 else condition.to(table.dtype) @ table


def append_planes(images: Tensor, condition: Tensor, size: int) -> Tensor:
    """Append a condition of N = `size` numbers to images (B, C, H, W) or clips (B, C, T, H, W), as N constant channels.

    The result has C + N channels. Each added channel is filled with one number of the condition. Labels are one-hot:
    the channel of the image's class contains ones, and the other added channels contain zeros.
    """
    pixels = images.shape[2:]
    numbers = numbers_of(condition, size).to(images.dtype)
    planes = numbers.view(*numbers.shape, *[1] * len(pixels)).expand(*numbers.shape, *pixels)
    return torch.cat([images, planes], dim=1)


def require_numbers(spec: Spec, name: str, other: str) -> int:
    """Return the number of classes in the data, or the length of the data's condition vectors.

    Raises:
        InputError: the data have no condition, or a condition other than class labels or vectors. The message
            recommends the network `other` instead.
    """
    if spec.condition is None:
        raise InputError(f"{name} needs labels, and the dataset has none; use {other}")
    if not isinstance(spec.condition, ClassCondition | VectorCondition):
        raise InputError(
            f"{name} needs classes or numbers as the condition, and the data have {spec.condition.describe()}; use "
            f"{other}, or a network that takes them"
        )
    return spec.classes or spec.condition.shape[0]


def optional_numbers(spec: Spec, name: str) -> int:
    """Return the number of classes or the length of the condition vectors, or 0 for data without a condition.

    Raises:
        InputError: the data have another kind of condition.
    """
    return 0 if spec.condition is None else require_numbers(spec, name, "data without a condition")


def require_labels(spec: Spec, name: str, other: str) -> None:
    """Raise an InputError if the data have no classes. The message recommends the plugin `other` instead."""
    if not spec.classes:
        has = "none" if spec.condition is None else spec.condition.describe()
        raise InputError(f"{name} needs labels, and the dataset has {has}; use {other}")


def refuse_other_conditions(spec: Spec, name: str) -> None:
    """Raise an InputError if the data have a condition other than class labels.

    The plugin `name` works with class labels or without a condition.
    """
    if spec.condition is not None and not spec.classes:
        raise InputError(
            f"{name} works with classes or without a condition, and the data have {spec.condition.describe()}; remove "
            "it, or load the data without the condition"
        )


def refuse_texts_and_images(spec: Spec, name: str) -> None:
    """Raise an InputError if the condition of the data is a text or an image."""
    if not isinstance(spec.condition, ClassCondition | VectorCondition | None):
        raise InputError(
            f"{name} works with classes, with numbers or without a condition, and the data have "
            f"{spec.condition.describe()}; remove it, or load the data without the condition"
        )


def require_conditional(spec: Spec, run: Run) -> None:
    """Raise an InputError if the run's generator does not use the class labels."""
    if not spec.conditional:
        raise InputError(
            f"the generator {run.recipe.use_of('generator')} takes no labels, so it cannot generate the requested "
            'class; use conditional_dcgan, or set normalization.generator = "conditional_batch_norm"'
        )
