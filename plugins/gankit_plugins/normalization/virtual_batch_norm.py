"""Virtual batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Player, Plugin, Settings, Spec, hookimpl

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run

Moments = tuple[Tensor, Tensor]
"""Mean and mean square of every channel, broadcastable to the maps."""


def own_moments(x: Tensor) -> Moments:
    """Of each example's channels, over its pixels: (B, C, 1, 1) each for maps, (B, C) each for vectors."""
    pixels = tuple(range(2, x.dim()))
    return (x.mean(pixels, keepdim=True), x.square().mean(pixels, keepdim=True)) if pixels else (x, x.square())


def with_reference(own: Moments, reference: Moments, m: int) -> Moments:
    """The moments of a reference batch of m examples and the example itself together: (m ref + own) / (m + 1)."""
    mean, square = ((m * r + o) / (m + 1) for o, r in zip(own, reference, strict=True))
    return mean, square


def normalized(x: Tensor, moments: Moments, eps: float) -> Tensor:
    """(x - mean) / sqrt(mean square - mean^2 + eps)."""
    mean, square = moments
    return (x - mean) * (square - mean.square()).clamp(min=0).add(eps).rsqrt()


class VirtualBatchNormLayer(nn.Module):
    """Normalises by the moments of a reference batch, which passes through first, and of each example itself."""

    def __init__(self, features: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps = eps
        self.recording = False
        self.reference: Moments | None = None
        self.m = 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, C) to the same shape and type; the statistics are in float32 at least."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        moments = own_moments(wide)
        if self.recording:
            moments = (moments[0].mean(0, keepdim=True), moments[1].mean(0, keepdim=True))
            self.reference, self.m = moments, len(x)
        else:
            assert self.reference is not None, "the reference batch goes first"
            moments = with_reference(moments, self.reference, self.m)
        shape = (1, -1, *[1] * (x.dim() - 2))
        y = normalized(wide, moments, self.eps) * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


class WithReference(nn.Module):
    """A network through which a reference batch passes before every batch.

    Args:
        network: with layers of virtual batch norm; called with inputs and labels.
        inputs: the reference batch, of any size until `set_reference`.
        labels: its labels, or None.
        kept: the reference is part of the network's state.
        ready: the reference is given, or will be loaded. Until then each batch is its own.
    """

    inputs: Tensor
    labels: Tensor | None

    def __init__(self, network: nn.Module, inputs: Tensor, labels: Tensor | None, kept: bool, ready: bool) -> None:
        super().__init__()
        self.network = network
        self.ready = ready
        self.register_buffer("inputs", inputs, persistent=kept)
        self.register_buffer("labels", labels, persistent=kept)

    def set_reference(self, inputs: Tensor, labels: Tensor | None) -> None:
        self.inputs, self.labels, self.ready = inputs, labels, True

    def forward(self, inputs: Tensor, labels: Tensor | None) -> Any:
        layers = [module for module in self.network.modules() if isinstance(module, VirtualBatchNormLayer)]
        for layer in layers:
            layer.recording = True
        reference = (self.inputs, self.labels) if self.ready else (inputs, labels)
        self.network(*reference)
        for layer in layers:
            layer.recording = False
        output = self.network(inputs, labels)
        for layer in layers:
            # Part of this pass's graph, which a copy of the network must not hold on to.
            layer.reference = None
        return output


class VirtualBatchNorm(Plugin):
    """Normalises each image by a fixed reference batch and itself, so that it does not depend on its batch.

    Source: Salimans 2016, section 3.5. The reference batch is drawn once: z for a generator, which its file carries
    along, real images for a discriminator. It passes through the network before every batch, which doubles the cost
    where both are of one size. The statistics are those of m reference examples and the example itself, each counting
    1 / (m + 1). Of networks for each class, each has reference examples of its own class.

    When to use: where batch norm helps, and images of one batch come out alike in tone.
    When not: where time is short; `layer_norm` does not couple images either, and costs next to nothing.
    """

    name = "virtual_batch_norm"
    kind = "normalization"

    class Config(Settings):
        size: int = Field(
            32, ge=2, description="m, examples in the reference batch; more, where all classes must have equally many"
        )
        eps: float = Field(1e-5, gt=0, description="added to the variance before its root is taken")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.wrapped: WithReference | None = None
        self.player: Player | None = None

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("normalization.generator") == self.name and recipe.uses("skip_z"):
            raise ValueError(
                "skip_z leads the batch's own z into the generator while the reference batch passes, whose statistics "
                "would then depend on the batch; drop skip_z, or use batch_norm or layer_norm in the generator"
            )
        return ()

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(layer, VirtualBatchNormLayer(features, self.config.eps))

    @hookimpl
    def build_generator(self, spec: Spec) -> None:
        """Builds nothing; takes note of the sizes, also when a saved generator is rebuilt."""
        self.spec = spec
        of_each = spec.classes if spec.class_balanced else 1
        self.size = math.ceil(self.config.size / of_each) * of_each

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        self.player, size = player, self.size
        if player == "generator":
            labels = torch.arange(size) % self.spec.classes if self.spec.classes else None
            z = torch.zeros(size, self.spec.latent_size)
            self.wrapped = WithReference(network, z, labels, kept=True, ready=run is None)
        else:
            self.wrapped = WithReference(network, torch.empty(0), None, kept=False, ready=False)
        return self.wrapped

    @hookimpl
    def on_start(self, run: Run) -> None:
        assert self.wrapped is not None
        if self.player == "generator" and run.iteration:
            # A resumed run goes on with the reference it was saved with, whatever device it goes on on.
            self.wrapped.ready = True
        elif self.player == "generator":
            labels = self.wrapped.labels
            self.wrapped.set_reference(run.draw_latent(self.size, labels), labels)
        else:
            self.wrapped.set_reference(*packed(*run.draw_reference(self.size * run.spec.pack), run.spec.pack))


def packed(images: Tensor, labels: Tensor | None, size: int) -> tuple[Tensor, Tensor | None]:
    """Reference images as a D of packs sees them: (B, C, R, R) to (B / size, size C, R, R), packs of one class."""
    if size == 1:
        return images, labels
    if labels is not None:
        order = labels.argsort(stable=True)
        images, labels = images[order], labels[order][::size]
    return images.reshape(len(images) // size, -1, *images.shape[2:]), labels
