"""Batch normalisation with a scale and a shift for each class."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gankit import InputError, Plugin, RecipeInfo, Spec, hookimpl
from gankit_plugins.layers.conditioning import embedded, require_labels
from gankit_plugins.layers.dimensions import batch_norm_for
from gankit_plugins.layers.modulation import scale_and_shift
from gankit_plugins.normalization.batch_norm import BatchNorm


def scale_by_class(x: Tensor, labels: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
    """Return `gamma_y x + beta_y`, with the shape and the data type of x (Dumoulin 2017, equation 5).

    Args:
        x: normalised feature maps (B, C, H, W) or vectors (B, C).
        labels: classes y, (B,), or weights of the K classes, (B, K).
        scales: gamma, (K, C). Row y contains the scales of class y.
        shifts: beta, (K, C).
    """
    return scale_and_shift(x, embedded(labels, scales), embedded(labels, shifts))


class CurrentLabels:
    """Holder of the current labels, which the generator's layers read during a forward pass."""

    labels: Tensor | None = None


class ConditionalBatchNormLayer(nn.Module):
    """Layer with batch norm, followed by the scale and the shift of each image's class.

    `connect` creates the scales and shifts later, because the number of classes is unknown when the generator builds
    its layers.

    Args:
        norm: batch norm without scale and shift.
        features: C, number of channels.
    """

    source: CurrentLabels
    normalizes = True

    def __init__(self, norm: nn.Module, features: int) -> None:
        super().__init__()
        self.norm = norm
        self.features = features
        self.weight = self.bias = nn.Parameter(torch.empty(0))

    def connect(self, source: CurrentLabels, classes: int) -> None:
        """Create the scales (K, C), initially 1, and the shifts (K, C), initially 0, for K classes.

        `forward` reads the labels from `source`.
        """
        self.source = source
        self.weight = nn.Parameter(torch.ones(classes, self.features))
        self.bias = nn.Parameter(torch.zeros(classes, self.features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, (B, C, H, W) or (B, C), and apply the scale and the shift of each image's class."""
        labels = self.source.labels
        assert labels is not None, "the layer is called by its generator, which sets the labels"
        if len(x) != len(labels):
            raise InputError(
                f"conditional_batch_norm: a layer gets {len(x)} inputs for {len(labels)} classes, for example one for "
                "each frame of a clip; set normalization.generator to batch_norm, or choose another generator"
            )
        return scale_by_class(self.norm(x), labels, self.weight, self.bias)


class ClassConditionalGenerator(nn.Module):
    """Generator that passes its labels to all its `ConditionalBatchNormLayer` modules in each forward pass."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.source = CurrentLabels()
        layers = [module for module in network.modules() if isinstance(module, ConditionalBatchNormLayer)]
        if not layers:
            raise InputError(
                f"{type(network).__name__} has no layer that the recipe normalises, so its images could not depend on "
                "the class; use another generator, such as dcgan, or another normalisation"
            )
        for layer in layers:
            layer.connect(self.source, classes)
        self.network = network

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (B, C, H, W), generated from z (B, latent_size) and labels (B,)."""
        assert labels is not None, "a conditional generator needs labels"
        self.source.labels = labels
        try:
            return self.network(z, labels)
        finally:
            self.source.labels = None


class ConditionalBatchNorm(Plugin):
    """Batch norm for the generator, with a scale and a shift for each class.

    Source: Dumoulin 2017, equation 5, with the statistics of an image; de Vries 2017, with the statistics of a batch;
    for GANs, Miyato and Koyama 2018. Each normalised layer has a scale and a shift for each channel and each class. The
    initial scale is 1, and the initial shift is 0. The statistics are computed over all classes together, as in
    `batch_norm`. In evaluation mode, running statistics replace batch statistics. A generator without a class input,
    such as `dcgan`, becomes conditional, because the output of each normalised layer depends on the class. A generator
    with a class input keeps this input.

    When to use: to generate requested classes, with `projection`, `auxiliary_classifier` or a discriminator that takes
    labels.
    When not: if D does not use the labels, because G then learns nothing about the classes.
    """

    name = "conditional_batch_norm"
    kind = "normalization"
    batch_coupled = True
    mixes_classes = True

    Config = BatchNorm.Config
    config: BatchNorm.Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("normalization.discriminator") == self.name:
            raise ValueError(
                "conditional_batch_norm is for the generator; set normalization.discriminator to spectral_norm or "
                "none, and give the classes to D with the trick projection"
            )
        if recipe.plugin_class("generator").per_class_networks:
            raise ValueError(
                f"{recipe.use_of('generator')} has a branch for each class, and a row of its feature maps contains "
                "images of several classes; use batch_norm, which has scales and shifts for each branch"
            )
        return ()

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        require_labels(spec, self.name, "batch_norm")
        spec.conditional = True

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        batch_norm = batch_norm_for(layer)
        norm = batch_norm(features, eps=self.config.eps, momentum=self.config.momentum, affine=False)
        return nn.Sequential(layer, ConditionalBatchNormLayer(norm, features))

    @hookimpl
    def wrap_network(self, network: nn.Module, spec: Spec) -> nn.Module:
        return ClassConditionalGenerator(network, spec.classes)
