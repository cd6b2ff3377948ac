"""Skip connections from z to every level of the generator."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import torch
from torch import Tensor, nn

from gankit import InputError, Player, Plugin, RecipeInfo, Spec, hookimpl
from gankit_plugins.layers.latent_parts import part_sizes
from gankit_plugins.layers.probe import probe_generator

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU)
"""Classes of activation modules. The trick adds a linear function of z to the inputs of some of these modules."""


class Latent:
    """Holder of the current z, which the generator's activation modules read during a forward pass."""

    z: Tensor


class ActivationWithLatent(nn.Module):
    """Activation that first adds a linear function of one part of z to every pixel of its input."""

    def __init__(self, activation: nn.Module, source: Latent, part: slice, channels: int) -> None:
        super().__init__()
        self.activation = activation
        self.source = source
        self.part = part
        self.from_z = nn.Linear(part.stop - part.start, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the linear function of z to x, (B, C, H, W) or (B, C), apply the activation and return the result."""
        share = self.from_z(self.source.z[:, self.part]).to(x.dtype)
        return self.activation(x + share.view(*share.shape, *[1] * (x.dim() - 2)))


class SkipZGenerator(nn.Module):
    """Generator in which an `ActivationWithLatent` replaces the first activation at each size of the feature maps."""

    def __init__(self, network: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.source = Latent()
        places = levels(network, spec)
        sizes = part_sizes(spec.latent_size, len(places))
        for (name, channels), size, end in zip(places, sizes, accumulate(sizes), strict=True):
            part_slice = slice(end - size, end)
            parent, _, leaf = name.rpartition(".")
            activation = network.get_submodule(name)
            replacement = ActivationWithLatent(activation, self.source, part_slice, channels)
            setattr(network.get_submodule(parent), leaf, replacement)
        self.network = network

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (B, C, H, W), generated from z (B, latent_size) and labels, (B,) or None."""
        self.source.z = z
        images = self.network(z, labels)
        # Remove z, which may belong to the autograd graph: `deepcopy` fails for a module with such a tensor.
        del self.source.z
        return images


def levels(network: nn.Module, spec: Spec) -> list[tuple[str, int]]:
    """Return the name and the number of channels of the first activation module at each size of the feature maps.

    Every activation module whose input is a batch of vectors (B, C) is also included.

    Raises:
        InputError: the network has no activation modules, or calls one of them several times.
    """
    calls: list[tuple[str, torch.Size]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: calls.append((name, inputs[0].shape)))
        for name, module in network.named_modules()
        if isinstance(module, ACTIVATIONS)
    ]
    probe_generator(network, spec)
    for hook in hooks:
        hook.remove()
    names = [name for name, _ in calls]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(
            f"{type(network).__name__} uses its activation {repeated!r} several times, and each needs a "
            "different part of z; write one module for each, or remove skip_z"
        )
    places_by_size: dict[object, tuple[str, int]] = {}
    for name, shape in calls:
        places_by_size.setdefault(shape[2:] if len(shape) == 4 else name, (name, shape[1]))
    if not places_by_size:
        raise InputError(
            f"{type(network).__name__} has no activation modules before which z could be added; write its "
            "activations as modules (nn.LeakyReLU), or remove skip_z"
        )
    return list(places_by_size.values())


class SkipZ(Plugin):
    """z as an input of every level of the generator, not only of the first layer.

    Source: Brock 2018, section 3: z is split into one part for each size of the feature maps. A linear function of the
    part is added to every pixel of a map, before the first activation at this size. BigGAN computes the scale and the
    shift of a conditional batch norm from z. This trick computes only a shift, so it works with every normalisation.

    When to use: for deep generators with a long path from z to the last levels.
    When not: with a generator that has a branch for each class (`igan_vn`); the recipe is then rejected.
    """

    name = "skip_z"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.plugin_class("generator").per_class_networks:
            raise ValueError(
                f"{recipe.use_of('generator')} has a branch for each class, so a row of a feature map contains several "
                "images with different z; remove skip_z, or use a generator for all classes"
            )
        return ()

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, spec: Spec) -> nn.Module:
        return SkipZGenerator(network, spec) if player == "generator" else network
