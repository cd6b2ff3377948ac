"""z on a short way to every level of the generator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gankit import InputError, Player, Plugin, Spec, hookimpl

if TYPE_CHECKING:
    from gankit import RecipeInfo

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU)
"""Where z joins: before the activation of a hidden layer."""


class Source:
    """Holds z while the generator works on it."""

    z: Tensor


class Joined(nn.Module):
    """An activation, before which a linear function of one part of z is added to every pixel.

    Args:
        activation: what follows.
        source: where z is found.
        part: which numbers of z are this level's.
        channels: of the map.
    """

    def __init__(self, activation: nn.Module, source: Source, part: slice, channels: int) -> None:
        super().__init__()
        self.activation = activation
        self.source = source
        self.part = part
        self.from_z = nn.Linear(part.stop - part.start, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, C) to the same shape."""
        share = self.from_z(self.source.z[:, self.part]).to(x.dtype)
        return self.activation(x + share.view(*share.shape, *[1] * (x.dim() - 2)))


class SkipZGenerator(nn.Module):
    """A generator whose every level sees z.

    Args:
        network: the generator; its first activation at each level is replaced by a `Joined` one.
        spec: for z's length.
    """

    def __init__(self, network: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.source = Source()
        places = levels(network, spec)
        if spec.latent_size < len(places):
            raise InputError(
                f"z of {spec.latent_size} numbers cannot be split among the {len(places)} levels of the generator; set "
                f"latent.size to {len(places)} at least"
            )
        parts = torch.arange(spec.latent_size).tensor_split(len(places))
        for (name, channels), part in zip(places, parts, strict=True):
            span = slice(int(part[0]), int(part[-1]) + 1)
            parent, _, leaf = name.rpartition(".")
            activation = network.get_submodule(name)
            setattr(network.get_submodule(parent), leaf, Joined(activation, self.source, span, channels))
        self.network = network

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(B, latent_size) and (B,) or None to (B, C, R, R)."""
        self.source.z = z
        images = self.network(z, labels)
        # Part of this pass's graph, which a copy of the network must not hold on to.
        del self.source.z
        return images


def levels(network: nn.Module, spec: Spec) -> list[tuple[str, int]]:
    """The first activation at each size of the maps, by name, and its channels; of vectors, every activation.

    Raises InputError when there is none.
    """
    seen: list[tuple[str, torch.Size]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, given, name=name: seen.append((name, given[0].shape)))
        for name, module in network.named_modules()
        if isinstance(module, ACTIVATIONS)
    ]
    count = max(2, spec.classes)
    training = network.training
    network.eval()
    with torch.no_grad():
        network(torch.zeros(count, spec.latent_size), torch.arange(count) if spec.classes else None)
    network.train(training)
    for hook in hooks:
        hook.remove()
    names = [name for name, _ in seen]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise InputError(
            f"{type(network).__name__} uses its activation {again!r} in several places, and each is to be joined by "
            "a part of z of its own; give it a module of its own in each, or drop skip_z"
        )
    found: dict[object, tuple[str, int]] = {}
    for name, shape in seen:
        found.setdefault(shape[2:] if len(shape) == 4 else name, (name, shape[1]))
    if not found:
        raise InputError(
            f"{type(network).__name__} holds no activation module before which z could join; write its activations as "
            "modules (nn.LeakyReLU), or drop skip_z"
        )
    return list(found.values())


class SkipZ(Plugin):
    """Leads z to every level of the generator, and not to its first layer alone.

    Source: Brock 2018, section 3: z is split into as many parts as there are levels, one for each size of the maps. A
    linear function of its part is added to every pixel of a level's map, before its first activation. (In BigGAN it
    sets the scale and shift of a conditional batch norm; here it is the shift, which every generator has a place for.)

    When to use: deep generators, in which the way from z to the last levels is long.
    When not: a generator with a branch for each class, inside which rows of its maps are no longer images.
    """

    name = "skip_z"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.plugin_class("generator").per_class_networks:
            raise ValueError(
                f"{recipe.use_of('generator')} has a branch for each class, where a row of a map holds one image of "
                "each class and there is no single z to add; drop skip_z, or use a generator for all classes"
            )
        return ()

    @hookimpl
    def build_generator(self, spec: Spec) -> None:
        """Builds nothing; takes note of the sizes, also when a saved generator is rebuilt."""
        self.spec = spec

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        return SkipZGenerator(network, self.spec) if player == "generator" else network
