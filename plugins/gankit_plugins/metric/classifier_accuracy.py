"""Accuracy of a discriminator that classifies images, on images with known classes."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import (
    ClassCondition,
    Comparison,
    DataTable,
    DiscriminatorOutput,
    InputError,
    Plugin,
    Rows,
    Settings,
    as_input,
    hookimpl,
    load_dataset,
)
from gankit_plugins.layers.class_logits import CLASS_LOGITS

CHUNK = 500
"""Number of images that are classified together. A small number limits the memory use."""


@torch.no_grad()
def class_logits(discriminator: nn.Module, images: Tensor, condition: ClassCondition | None) -> Tensor | None:
    """Return D's class logits (N, K) of images (N, C, H, W), on the CPU. None if D has no class logits.

    The images are uint8, or floating point in [-1, 1]. `condition` describes the condition that D takes, or is None.
    Class 0 is then given for all images, so a classifying discriminator must ignore it.
    """
    device = next(discriminator.parameters()).device
    logits = []
    for chunk in images.split(CHUNK):
        given = None if condition is None else torch.zeros(len(chunk), dtype=torch.int64, device=device)
        output = DiscriminatorOutput(*discriminator(as_input(chunk.to(device)), given))
        if CLASS_LOGITS not in output.extra:
            return None
        logits.append(output.extra[CLASS_LOGITS].float().cpu())
    return torch.cat(logits)


class ClassifierAccuracy(Plugin):
    """Share of test images whose class the discriminator predicts: `classifier_accuracy`.

    D classifies with the trick `semi_supervised` or `auxiliary_classifier`. The table `data` selects the test images
    with their classes, such as `data = { use = "mnist", split = "test" }`. The metric applies during a run only,
    because generator files do not contain D. Augmentations and noise of D's inputs are left out.

    Source: Salimans 2016, section 6, which reports the number of wrong predictions.

    When to use: for a semi-supervised classifier, or to check the classifier of AC-GAN.
    When not: to compare generators; use `frechet_distance`.
    """

    name = "classifier_accuracy"
    kind = "metric"
    better: ClassVar = {"classifier_accuracy": "higher"}

    class Config(Settings):
        data: DataTable = Field(description="test images with classes: `use` and the settings of a data plugin")

    config: Config

    @cached_property
    def test(self) -> Rows:
        """Test images with their labels."""
        dataset = load_dataset(self.config.data, f"{self.name}: data")
        if not isinstance(dataset.condition, ClassCondition):
            raise InputError(f"{self.name}: data: the images have no classes; choose data with classes")
        return dataset.read()

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        described = comparison.real.described
        if "discriminator" not in comparison.networks or not isinstance(described, ClassCondition | None):
            return None
        images, labels = self.test.images, self.test.condition
        assert labels is not None, "data with classes have labels"
        if images.shape[1:] != comparison.real.images.shape[1:]:
            given, trained = (tuple(one.shape[1:]) for one in (images, comparison.real.images))
            raise InputError(f"{self.name}: data: the test images are {given}, and the training images {trained}")
        logits = class_logits(comparison.networks["discriminator"], images, described)
        if logits is None:
            return None
        if labels.max() >= logits.shape[1]:
            raise InputError(
                f"{self.name}: data: the test images have {int(labels.max()) + 1} classes, and the discriminator "
                f"{logits.shape[1]}; choose images of the same classes"
            )
        return {"classifier_accuracy": (logits.argmax(1) == labels).double().mean().item()}
