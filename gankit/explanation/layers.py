"""Layers of a generator: listing, recording and ablation of their feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gankit.sampling.sampler import Sampler

PROBE = 4
"""Number of samples that are generated to find the layers of a generator."""


class Layer(NamedTuple):
    """Layer of a generator whose output consists of feature maps."""

    name: str
    """Name of the module in the generator, such as `body.1`."""

    units: int
    """Number of channels of the output."""

    height: int
    width: int


def layers_of(sampler: Sampler) -> list[Layer]:
    """Return the layers of a generator with feature maps of more than one pixel, in the order of the forward pass.

    The images themselves are left out, and so are modules that are called several times or with a part of a batch. If
    several modules return the same tensor, such as a container and its last layer, the outermost module is used.
    """
    outputs: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.setdefault(name, []).append(output))
        for name, module in sampler.generator.named_modules()
        if name
    ]
    condition = sampler.conditions(PROBE)
    try:
        list(sampler.outputs(sampler.latent(PROBE, condition, 0), condition))
    finally:
        for handle in handles:
            handle.remove()
    # Hooks of inner modules run first, so that a later name replaces that of an inner module with the same output.
    names = {id(calls[0]): name for name, calls in outputs.items() if len(calls) == 1 and is_map(calls[0])}
    layers = [Layer(name, *outputs[name][0].shape[1:]) for name in names.values()]
    return [layer for layer in layers if layer[1:] != tuple(sampler.spec.shape)]


def is_map(output: object) -> bool:
    """Return True if the output of a module is a batch of feature maps of more than one pixel."""
    return isinstance(output, Tensor) and output.dim() == 4 and len(output) == PROBE and output[0, 0].numel() > 1


def default_layer(layers: Sequence[Layer], channels: int, height: int) -> Layer:
    """Return the layer that is dissected by default.

    Layers with as many units as an image has channels are left out, because they are often smaller images. Among the
    layers with at most half of the images' height, it is the last one of those that are least nested, such as a block
    and not a layer in the block. If there are none, all layers are considered.

    Args:
        layers: layers in the order of the forward pass, at least one.
        channels: number of channels of an image.
        height: height of an image.
    """
    features = [layer for layer in layers if layer.units != channels]
    small = [layer for layer in features if layer.height <= height / 2] or features or layers
    depth = min(layer.name.count(".") for layer in small)
    return [layer for layer in small if layer.name.count(".") == depth][-1]


def feature_maps(sampler: Sampler, layer: str, z: Tensor, condition: Tensor | None, units: slice) -> Tensor:
    """Return the feature maps of some units of a layer, (N, units, h, w) on the CPU, for z and the condition."""
    maps: list[Tensor] = []
    module = sampler.generator.get_submodule(layer)
    handle = module.register_forward_hook(lambda _, __, output: maps.append(output[:, units].float().cpu().clone()))
    try:
        for _ in sampler.outputs(z, condition):
            pass
    finally:
        handle.remove()
    return torch.cat(maps)


@contextmanager
def ablated(generator: nn.Module, layer: str, units: Sequence[int]) -> Iterator[None]:
    """Set units of a layer to zero for the `with` block.

    Source: Bau 2019, section 3.2.
    """

    def ablate(module: nn.Module, inputs: tuple[object, ...], output: Tensor) -> Tensor:
        output = output.clone()
        output[:, list(units)] = 0
        return output

    handle = generator.get_submodule(layer).register_forward_hook(ablate)
    try:
        yield
    finally:
        handle.remove()
