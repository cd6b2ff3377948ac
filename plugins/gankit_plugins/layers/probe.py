"""Outputs of networks for fixed inputs. Plugins use them to find the shapes of logits, features and feature maps."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Player, Run, Spec

COUNT = 2
"""Number of fixed images. Layers that compare the images of a batch need at least two."""


@torch.no_grad()
def probe(network: nn.Module, run: Run, shift: int = 0) -> DiscriminatorOutput:
    """Return the output of a discriminator for fixed images. With K classes, image i has the class (i + shift) mod K.

    `shift`, 0 or 1, also changes conditions other than classes.

    The network is not changed. It runs in evaluation mode, because in training mode, batch norm would update its
    running statistics.
    """
    spec, device = run.spec, next(network.parameters()).device
    shape = (COUNT, spec.channels * spec.pack, *spec.shape[1:])
    images = torch.linspace(-1, 1, math.prod(shape), device=device).view(shape)
    second = None
    if spec.latent_pairs:
        second = torch.zeros(COUNT, spec.latent_size, device=device)
    elif spec.classes:
        second = (torch.arange(COUNT, device=device) + shift) % spec.classes
    elif spec.condition is not None:
        described = spec.packed().condition
        assert described is not None
        second = described.blank(COUNT).to(device) + shift
    training = network.training
    network.eval()
    output = DiscriminatorOutput(*network(images, second))
    network.train(training)
    return output


def feature_count(network: nn.Module, run: Run) -> int:
    """Return F, the number of features in the output of a discriminator."""
    return probe(network, run).features.shape[1]


@torch.no_grad()
def probe_generator(network: nn.Module, spec: Spec) -> Tensor:
    """Return the images of a generator for z = 0: one image for each class, but at least two.

    The network is not changed.
    """
    count = max(COUNT, spec.classes)
    device = next(network.parameters()).device
    condition = None if spec.condition is None else spec.condition.blank(count).to(device)
    training = network.training
    network.eval()
    images = network(torch.zeros(count, spec.latent_size, device=device), condition)
    network.train(training)
    return images


class FeatureMap(NamedTuple):
    """Name of a module that returns feature maps (B, C, H, W), and the number of channels and the size of the maps."""

    module: str
    """Name of the module, as in `named_modules`."""

    channels: int
    size: tuple[int, int]
    """Height and width of the feature maps, in pixels."""


def feature_maps(network: nn.Module, player: Player, spec: Spec, run: Run | None) -> list[FeatureMap]:
    """Return name, channels and size of the feature maps that a network's modules return, in the order of the calls.

    The result excludes images and the output of the network itself. It also excludes modules that are called
    repeatedly, and the parts of a residual block or a similar module. An `nn.Sequential` whose layers return different
    sizes is also excluded, but its layers are included. For a generator, `run` may be None.
    """
    calls: list[tuple[str, Any]] = []

    def record(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        calls.append((name, output))

    # Exclude parametrisations, such as spectral norm, because their output is a weight and not a feature map.
    names = [name for name, _ in network.named_modules() if name and "parametrizations" not in name]
    handles = [network.get_submodule(name).register_forward_hook(partial(record, name)) for name in names]
    if player == "generator":
        probe_generator(network, spec)
    else:
        assert run is not None, "a discriminator is built only in a run"
        probe(network, run)
    for handle in handles:
        handle.remove()
    image = (spec.channels * (1 if player == "generator" else spec.pack), *spec.shape[1:])
    count = Counter(name for name, _ in calls)
    found = {
        name: FeatureMap(name, output.shape[1], (output.shape[2], output.shape[3]))
        for name, output in calls
        if isinstance(output, Tensor) and output.dim() == 4 and tuple(output.shape[1:]) != image
    }
    # With virtual batch norm, two batches pass through the network. Modules with a single call per batch then have two
    # calls, the smallest count.
    passes = min((count[name] for name in found), default=1)
    maps = [one for name, one in found.items() if count[name] == passes]
    return [one for one in maps if not is_container(network, one, maps) and not in_block(network, one, maps)]


def is_container(network: nn.Module, one: FeatureMap, maps: list[FeatureMap]) -> bool:
    """Return whether a module is an `nn.Sequential` whose layers return feature maps of different sizes."""
    sizes = {other.size for other in maps if other.module.rpartition(".")[0] == one.module}
    return len(sizes) > 1 and isinstance(network.get_submodule(one.module), nn.Sequential)


def in_block(network: nn.Module, one: FeatureMap, maps: list[FeatureMap]) -> bool:
    """Return whether a module is a part of a block.

    A block changes height and width by a factor of at most 2, and is not an `nn.Sequential`.
    """
    for block in maps:
        if one.module.startswith(f"{block.module}.") and not isinstance(
            network.get_submodule(block.module), nn.Sequential
        ):
            inside = [min(other.size) for other in maps if f"{other.module}.".startswith(f"{block.module}.")]
            if max(inside) <= 2 * min(inside):
                return True
    return False
