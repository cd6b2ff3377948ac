"""Virtual batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import ImageCondition, InputError, Player, Plugin, RecipeInfo, Run, Settings, Spec, hookimpl

Moments = tuple[Tensor, Tensor]
"""Mean and mean square of every channel, in shapes that broadcast to the feature maps."""


def example_moments(x: Tensor) -> Moments:
    """Return the mean and the mean square of each channel of each example.

    Both have the shape (B, C, 1, 1) for feature maps and (B, C) for vectors.
    """
    pixels = tuple(range(2, x.dim()))
    return (x.mean(pixels, keepdim=True), x.square().mean(pixels, keepdim=True)) if pixels else (x, x.square())


def with_reference(own: Moments, reference: Moments, m: int) -> Moments:
    """Return the moments over m reference examples and each example itself: `(m * reference + own) / (m + 1)`."""
    mean, square = ((m * r + o) / (m + 1) for o, r in zip(own, reference, strict=True))
    return mean, square


def normalize(x: Tensor, moments: Moments, eps: float) -> Tensor:
    """Return x normalised with the given moments: `(x - mean) / sqrt(mean_square - mean^2 + eps)`."""
    mean, square = moments
    return (x - mean) * (square - mean.square()).clamp(min=0).add(eps).rsqrt()


class VirtualBatchNormLayer(nn.Module):
    """Layer that normalises each example with the moments of a reference batch and of the example itself."""

    def __init__(self, features: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps = eps
        self.recording = False
        self.reference: Moments | None = None
        self.m = 0

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, scale and shift x, (B, C, H, W) or (B, C). Return the result in the data type of x.

        The statistics are computed in float32 or a wider type.
        """
        upcast = x.to(torch.promote_types(x.dtype, torch.float32))
        moments = example_moments(upcast)
        if self.recording:
            moments = (moments[0].mean(0, keepdim=True), moments[1].mean(0, keepdim=True))
            self.reference, self.m = moments, len(x)
        else:
            assert self.reference is not None, "the reference batch must pass first"
            moments = with_reference(moments, self.reference, self.m)
        shape = (1, -1, *[1] * (x.dim() - 2))
        y = normalize(upcast, moments, self.eps) * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


class WithReference(nn.Module):
    """Wrapper that runs the reference batch of virtual batch norm through a network before each batch.

    Args:
        network: network with layers of virtual batch norm, called with inputs and their condition.
        inputs: reference batch.
        condition: condition of the reference batch, or None for images without a condition.
        persistent: True if the network's `state_dict` contains the reference batch.
        ready: True if `inputs` is the final reference batch. If False, each batch is also the reference batch until
            `set_reference` is called.
    """

    inputs: Tensor
    condition: Tensor | None

    def __init__(
        self, network: nn.Module, inputs: Tensor, condition: Tensor | None, persistent: bool, ready: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.ready = ready
        self.register_buffer("inputs", inputs, persistent=persistent)
        self.register_buffer("condition", condition, persistent=persistent)

    def set_reference(self, inputs: Tensor, condition: Tensor | None) -> None:
        """Set the reference batch of all later forward passes, and the condition of the reference batch."""
        self.inputs, self.condition, self.ready = inputs, condition, True

    def forward(self, inputs: Tensor, condition: Tensor | None) -> Any:
        """Run the reference batch through the network, then return the output of the network for `inputs`."""
        layers = [module for module in self.network.modules() if isinstance(module, VirtualBatchNormLayer)]
        for layer in layers:
            layer.recording = True
        reference = (self.inputs, self.condition) if self.ready else (inputs, condition)
        self.network(*reference)
        for layer in layers:
            layer.recording = False
        output = self.network(inputs, condition)
        for layer in layers:
            # Remove the moments, because they belong to the autograd graph, and `deepcopy` of this module would fail.
            layer.reference = None
        return output


class VirtualBatchNorm(Plugin):
    """Virtual batch norm: normalisation with the statistics of a fixed reference batch and of the image itself.

    Source: Salimans 2016, section 3.5. The reference batch is drawn once. It contains z for a generator, and real
    images for a discriminator. The file of a saved generator contains its reference batch. Before each batch, the
    reference batch passes through the network. This doubles the cost if both batches have the same size. The statistics
    are over m reference examples and the example itself, each with weight 1 / (m + 1). If a player has one network per
    class, the reference examples of each network are from its class.

    When to use: if batch norm helps, but makes the generated images of a batch similar to each other.
    When not: if time is limited; use `layer_norm`, which also normalises each image separately and costs almost
    nothing.
    """

    name = "virtual_batch_norm"
    kind = "normalization"

    class Config(Settings):
        size: int = Field(32, ge=2, description="m, examples in the reference batch, rounded up for equal classes")
        eps: float = Field(1e-5, gt=0, description="addend to the variance, before the square root")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.wrapped: WithReference | None = None
        self.player: Player | None = None

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("normalization.generator") == self.name and recipe.uses("skip_z"):
            raise ValueError(
                "skip_z adds the batch's z while the reference batch passes through the generator, so the statistics "
                "would depend on the batch; remove skip_z, or use batch_norm or layer_norm in the generator"
            )
        return ()

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(layer, VirtualBatchNormLayer(features, self.config.eps))

    @hookimpl
    def build_generator(self, spec: Spec) -> None:
        """Store `spec` and the reference batch's size. This hook is also called when a saved generator is rebuilt."""
        self.spec = spec
        classes = spec.classes if spec.class_balanced else 1
        self.size = math.ceil(self.config.size / classes) * classes

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        self.player, size = player, self.size
        if player == "generator":
            z = torch.zeros(size, self.spec.latent_size)
            self.wrapped = WithReference(network, z, self._first_condition(size), persistent=True, ready=run is None)
        else:
            self.wrapped = WithReference(network, torch.empty(0), None, persistent=False, ready=False)
        return self.wrapped

    @hookimpl
    def on_start(self, run: Run) -> None:
        assert self.wrapped is not None
        if self.player == "generator" and run.iteration:
            # Do not draw a new reference batch, because a resumed run has loaded the old one from its checkpoint.
            self.wrapped.ready = True
        elif self.player == "generator":
            condition = self.wrapped.condition
            if condition is not None and not run.spec.classes:
                condition = run.draw_reference(self.size).condition
            self.wrapped.set_reference(run.draw_latent(self.size, condition), condition)
        else:
            images, condition, _ = run.draw_reference(self.size * run.spec.pack)
            self.wrapped.set_reference(*pack(images, condition, run.spec.pack))

    def _first_condition(self, size: int) -> Tensor | None:
        """Return the condition of a generator's first reference batch, or None for an unconditional generator.

        With K classes, the labels are 0, 1, ..., K - 1, 0, 1, ... For other conditions, the result is a placeholder
        that `on_start` replaces.

        Raises:
            InputError: the condition is a source image. The generator file would then contain source images.
        """
        condition = self.spec.condition if self.spec.conditional else None
        if isinstance(condition, ImageCondition):
            raise InputError(
                "the reference batch would put source images into the generator's file; use batch_norm or layer_norm "
                "in the generator"
            )
        if condition is None:
            return None
        return condition.rows(size, {}, None) if self.spec.classes else condition.blank(size)


def pack(images: Tensor, labels: Tensor | None, size: int) -> tuple[Tensor, Tensor | None]:
    """Combine images (B, C, H, W) of the same class into packs of `size` images. Return the packs and their labels.

    In a pack, the images are concatenated along the channels. The packs have the shape (B / size, size * C, H, W).
    """
    if size == 1:
        return images, labels
    if labels is not None:
        order = labels.argsort(stable=True)
        images, labels = images[order], labels[order][::size]
    return images.reshape(len(images) // size, -1, *images.shape[2:]), labels
