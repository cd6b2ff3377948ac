"""Structured pruning: channels that change the samples least are removed from the layers of a generator.

The channels that belong together are found by running the network. An output channel of a layer is set to NaN, and the
input channels of other layers that become NaN depend on it. Neither the code of the network nor its order of layers has
to be known. A group of channels is pruned only if the smaller network gives the same samples as the original network
with these channels set to zero.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from gankit.errors import InputError
from gankit.runtime.rng import eval_mode

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
LAYERS = (nn.Linear, nn.Embedding, *CONVOLUTIONS)
"""Layers whose output channels can be removed. Each of their outputs depends on all inputs."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
"""Layers that have numbers for each channel, and that process each channel alone."""

TOLERANCE = 1e-4
"""Largest difference of a sample between the pruned network and the original one with channels set to zero."""

Side = Literal["output", "input", "norm"]
"""Place of a channel in a module: output or input of a layer, or a channel of a normalisation layer."""

Place = tuple[str, Side]
"""Name of a module in the network, and the side."""

Channel = tuple[Place, int]
"""Place and number of a channel."""

Unit = Mapping[Place, tuple[int, ...]]
"""Channels that are removed together: their numbers at each place."""

Forward = Callable[[nn.Module], Tensor]
"""Function that calls a network with fixed inputs and returns its samples (B, ...)."""


class Pruned(NamedTuple):
    """Result of pruning: the smaller network, and its channels in numbers."""

    network: nn.Module
    removed: int
    """Number of removed units. A unit consists of the channels that are removed together."""

    units: int
    """Number of units in the original network that can be removed."""


def multiply_adds(network: nn.Module, forward: Forward) -> dict[str, int]:
    """Count the multiplications with additions of linear layers, convolutions and matrix products, for one sample.

    Return the number by module name. The number of the whole network has the name "". Other operations, such as
    normalisation and activations, are not counted.

    Args:
        network: network.
        forward: function that calls the network for B samples.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with FlopCounterMode(display=False) as counter, eval_mode(network), torch.no_grad():
        # The counter cannot handle inputs of modules that are views of trainable parameters.
        network.requires_grad_(False)
        try:
            samples = forward(network)
        finally:
            for parameter in trainable:
                parameter.requires_grad_()
    root = type(network).__name__
    counts = {}
    for name, operations in counter.get_flop_counts().items():
        if name == "Global" or name.startswith(f"{root}."):
            # FLOPs count a multiplication and an addition as two operations.
            counts[name.removeprefix("Global").removeprefix(f"{root}.")] = sum(operations.values()) // 2 // len(samples)
    return counts


def prune(network: nn.Module, forward: Forward, share: float, seen: Callable[[int, int], None]) -> Pruned:
    """Return a copy of a network without the channels that change its samples least.

    The sensitivity of a unit is the mean squared change of the samples if the unit's channels are zero. The units with
    the lowest sensitivity for each saved multiply-add are removed, until `share` of the multiply-adds are saved. At
    least one channel of each layer stays.

    Args:
        network: network. It is not changed.
        forward: function that calls a network with fixed inputs.
        share: share of the multiply-adds to remove, between 0 and 1.
        seen: function that is called with the number of units whose sensitivity is known, and with that of all units.

    Raises:
        InputError: the channels cannot be removed, or not enough of them.
    """
    with eval_mode(network), torch.no_grad():
        groups = prunable_groups(network, forward)
        if not groups:
            raise InputError(
                f"the network {type(network).__name__} has no channels that can be removed: its layers are not plain "
                "linear layers or convolutions, or each channel reaches other parts of the network; use settings of a "
                "narrower generator"
            )
        units = [(number, unit) for number, group in enumerate(groups) for unit in group]
        costs = Costs.of(network, multiply_adds(network, forward))
        expected, ratios = forward(network), []
        for done, (_, unit) in enumerate(units, 1):
            with without(network, [unit]):
                change = (forward(network) - expected).square().mean().item()
            ratios.append(change / max(costs.saved(unit), 1))
            seen(done, len(units))
        left = [len(group) for group in groups]
        removed: list[Unit] = []
        for index in sorted(range(len(units)), key=ratios.__getitem__):
            if costs.total() <= (1 - share) * costs.whole:
                break
            number, unit = units[index]
            if left[number] > 1:
                left[number] -= 1
                removed.append(unit)
                costs.remove(unit)
        if costs.total() > (1 - share) * costs.whole:
            raise InputError(
                f"only {1 - costs.total() / costs.whole:.0%} of the multiply-adds can be removed from the network "
                f"{type(network).__name__}; choose a smaller share"
            )
        smaller = narrowed(network, removed)
        if difference(network, smaller, removed, forward) > TOLERANCE:
            raise InputError(
                f"the channels of the network {type(network).__name__} cannot be removed together; choose another "
                "share, or settings of a narrower generator"
            )
    return Pruned(smaller, len(removed), len(units))


@dataclass
class Costs:
    """Multiply-adds of a network while units are removed."""

    whole: int
    layers: dict[str, int]
    """Multiply-adds of each layer in the original network, by name."""

    sizes: dict[Place, int]
    """Number of channels at each place of the original network."""

    kept: dict[Place, int] = field(default_factory=dict)

    @classmethod
    def of(cls, network: nn.Module, counts: Mapping[str, int]) -> Costs:
        """Return the costs of a whole network from the multiply-adds of its modules."""
        layers = dict(plain_layers(network))
        sizes = {(n, side): size for n, one in layers.items() for side, size in sides_of(one).items()}
        return cls(counts[""], {name: counts.get(name, 0) for name in layers}, sizes, dict(sizes))

    def total(self) -> float:
        """Return the multiply-adds of the network without the removed units."""
        return self.whole - sum(count * (1 - self._share(name)) for name, count in self.layers.items())

    def saved(self, unit: Unit) -> float:
        """Return the multiply-adds that the removal of a unit saves."""
        before, kept = self.total(), dict(self.kept)
        self.remove(unit)
        saved = before - self.total()
        self.kept = kept
        return saved

    def remove(self, unit: Unit) -> None:
        """Remove a unit."""
        for place, channels in unit.items():
            if place in self.kept:
                self.kept[place] -= len(channels)

    def _share(self, name: str) -> float:
        return math.prod(self.kept[name, side] / self.sizes[name, side] for side in ("output", "input"))


def plain_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name and the module of each layer that can be pruned.

    A layer with several groups of channels, with hooks or with further parameters, such as one with spectral
    normalisation, cannot be pruned.
    """
    for name, module in network.named_modules():
        plain = type(module) in LAYERS and {*module._parameters} <= {"weight", "bias"} and not module._buffers
        if plain and not (module._forward_hooks or module._forward_pre_hooks) and getattr(module, "groups", 1) == 1:
            yield name, module


def sides_of(layer: nn.Module) -> dict[Side, int]:
    """Return the number of output and of input channels of a layer."""
    assert isinstance(layer.weight, Tensor)
    first, second = layer.weight.shape[:2]
    if isinstance(layer, (*TRANSPOSED, nn.Embedding)):
        return {"output": second, "input": first}
    return {"output": first, "input": second}


def channel_dim(module: nn.Module) -> int:
    """Return the dimension of the channels in the inputs and outputs of a module."""
    return -1 if isinstance(module, (nn.Linear, nn.Embedding)) else 1


def prunable_groups(network: nn.Module, forward: Forward) -> list[list[Unit]]:
    """Return the units of a network that can be removed, in groups whose units have the same places.

    The network must be in evaluation mode. Groups are left out if the network without a unit does not give the same
    samples as the original network with the unit's channels set to zero.
    """
    groups: dict[frozenset[Place], list[Unit]] = {}
    for unit in units_of(network, forward):
        groups.setdefault(frozenset(unit), []).append(unit)
    return [group for group in groups.values() if len(group) > 1 and _removable(network, group[0], forward)]


def _removable(network: nn.Module, unit: Unit, forward: Forward) -> bool:
    """Return True if a network without a unit equals the network with the unit's channels set to zero."""
    try:
        return difference(network, narrowed(network, [unit]), [unit], forward) <= TOLERANCE
    except (RuntimeError, ValueError, IndexError, AssertionError):  # the code of the network expects the old shapes
        return False


def difference(network: nn.Module, smaller: nn.Module, removed: Sequence[Unit], forward: Forward) -> float:
    """Return the largest difference between the samples of a pruned network and of the network with zero channels."""
    samples = forward(smaller)
    with without(network, removed):
        return (samples - forward(network)).abs().max().item()


def units_of(network: nn.Module, forward: Forward) -> list[Unit]:
    """Find the channels of a network that must be removed together.

    For each layer, its output channels are numbered in binary. For each bit, the channels with the bit are set to NaN,
    and then those without it. An element in the input of another layer depends on exactly one output channel if it
    becomes NaN in exactly one of the two passes for each bit, and these bits are the number of the output channel. An
    input channel belongs to the output channels of all its elements.

    The inputs of all layers are cleared of NaN, so that only direct dependences are found. If samples become NaN, the
    output channels reach the samples without another layer, and they are not pruned. Neither are channels that mix.
    """
    layers = dict(plain_layers(network))
    norms = {name: one for name, one in network.named_modules() if type(one) in NORMS}
    sinks: dict[Place, nn.Module] = {(name, "input"): one for name, one in layers.items()}
    sinks |= {(name, "norm"): one for name, one in norms.items()}
    links = Links()
    for name, layer in layers.items():
        count = sides_of(layer)["output"]
        numbers = torch.arange(count)
        bits = max(1, (count - 1).bit_length())
        passes = [
            nan_channels(network, layer, sinks, (numbers >> bit & 1) == value, forward)
            for bit in range(bits)
            for value in (0, 1)
        ]
        own: list[Channel] = [((name, "output"), number) for number in range(count)]
        reached = {key for one in passes if one is not None for key in one}
        if not reached or any(one is None for one in passes):
            links.block(own)
            continue
        for place, call in reached:
            flags = [one.get((place, call)) for one in passes if one is not None]
            blank = torch.zeros_like(next(flag for flag in flags if flag is not None))
            table = torch.stack([blank if flag is None else flag for flag in flags])
            zeros, ones = table[0::2], table[1::2]
            touched, single = table.any(0), (zeros ^ ones).all(0)
            codes = (ones.long() * (2 ** torch.arange(bits))[:, None, None]).sum(0)
            for index in touched.any(1).nonzero().flatten().tolist():
                if not single[index][touched[index]].all():  # the input channel mixes output channels
                    links.block([(place, index), *own])
                    continue
                for number in codes[index][touched[index]].unique().tolist():
                    links.join(own[number], (place, index))
    return links.units()


class Links:
    """Sets of channels that belong together (union-find), and channels that cannot be removed."""

    def __init__(self) -> None:
        self.parent: dict[Channel, Channel] = {}
        self.blocked: set[Channel] = set()

    def root(self, channel: Channel) -> Channel:
        """Return the channel that stands for the set of a channel."""
        while (above := self.parent.setdefault(channel, channel)) != channel:
            self.parent[channel] = channel = self.parent.setdefault(above, above)
        return channel

    def join(self, one: Channel, other: Channel) -> None:
        """Unite the sets of two channels."""
        self.parent[self.root(one)] = self.root(other)

    def block(self, channels: Iterable[Channel]) -> None:
        """Mark channels, and thereby their sets, as not removable."""
        for channel in channels:
            self.root(channel)
            self.blocked.add(channel)

    def units(self) -> list[Unit]:
        """Return the sets without blocked channels, in the order in which their channels were found."""
        sets: dict[Channel, dict[Place, list[int]]] = {}
        blocked = {self.root(channel) for channel in self.blocked}
        for channel in list(self.parent):
            if (root := self.root(channel)) not in blocked:
                sets.setdefault(root, {}).setdefault(channel[0], []).append(channel[1])
        return [
            {place: tuple(sorted(channels)) for place, channels in one.items()}
            for one in sets.values()
            if {side for _, side in one} >= {"output", "input"}
        ]


def nan_channels(
    network: nn.Module, layer: nn.Module, sinks: Mapping[Place, nn.Module], chosen: Tensor, forward: Forward
) -> dict[tuple[Place, int], Tensor] | None:
    """Set output channels of a layer to NaN, and return the elements of other modules' inputs that become NaN.

    Return a mask (channels, elements of a channel) for each place with NaN and each call of its module, or None if
    samples become NaN. Layers get their inputs without NaN.

    Args:
        network: network.
        layer: layer whose output channels are set to NaN.
        sinks: modules whose inputs are observed.
        chosen: mask (channels,) of the output channels.
        forward: function that calls the network.
    """
    found: dict[tuple[Place, int], Tensor] = {}
    calls: Counter[Place] = Counter()

    def observe(place: Place, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        value = inputs[0]
        calls[place] += 1
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.isnan().any():
            return None
        elements = value.isnan().movedim(channel_dim(module), 1).any(0)
        found[place, calls[place]] = elements.reshape(len(elements), -1).cpu()
        return (value.nan_to_num(nan=0.0), *inputs[1:]) if place[1] == "input" else None

    def spoil(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        mask = chosen.to(output.device)
        return output.masked_fill(_along(mask, output, channel_dim(module)), math.nan)

    with _hooks(
        layer.register_forward_hook(spoil),
        *(module.register_forward_pre_hook(partial(observe, place)) for place, module in sinks.items()),
    ):
        samples = forward(network)
    return None if samples.isnan().any() else found


@contextmanager
def without(network: nn.Module, removed: Sequence[Unit]) -> Iterator[None]:
    """Set the input channels of some units to zero in the `with` block."""
    channels = channels_of(removed)

    def clear(indices: Tensor, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        value = inputs[0]
        mask = torch.zeros(value.shape[channel_dim(module)], dtype=torch.bool, device=value.device)
        mask[indices.to(value.device)] = True
        return (value.masked_fill(_along(mask, value, channel_dim(module)), 0.0), *inputs[1:])

    with _hooks(
        *(
            network.get_submodule(name).register_forward_pre_hook(partial(clear, torch.tensor(indices)))
            for (name, side), indices in channels.items()
            if side == "input"
        )
    ):
        yield


def _along(mask: Tensor, value: Tensor, dim: int) -> Tensor:
    """Reshape a mask (channels,) so that it broadcasts along a dimension of a tensor."""
    shape = [1] * value.dim()
    shape[dim] = len(mask)
    return mask.view(shape)


@contextmanager
def _hooks(*handles: RemovableHandle) -> Iterator[None]:
    """Remove hooks at the end of the `with` block."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def channels_of(units: Iterable[Unit]) -> dict[Place, list[int]]:
    """Return the channels of several units by place."""
    channels: dict[Place, list[int]] = {}
    for unit in units:
        for place, indices in unit.items():
            channels.setdefault(place, []).extend(indices)
    return channels


def narrowed(network: nn.Module, removed: Iterable[Unit]) -> nn.Module:
    """Return a copy of a network without the channels of some units."""
    smaller = copy.deepcopy(network)
    tensors = dict(smaller.state_dict())
    for (name, side), indices in channels_of(removed).items():
        module, prefix = smaller.get_submodule(name), f"{name}." if name else ""
        gone = set(indices)
        for own in (*module._parameters, *module._buffers):
            value = tensors.get(f"{prefix}{own}")
            dim = _dim_of(module, side, own)
            if value is None or dim is None or not value.dim():
                continue
            kept = torch.tensor([i for i in range(value.shape[dim]) if i not in gone], device=value.device)
            tensors[f"{prefix}{own}"] = value.index_select(dim, kept)
    resize(smaller, tensors)
    smaller.load_state_dict(tensors)
    return smaller


def _dim_of(module: nn.Module, side: Side, name: str) -> int | None:
    """Return the dimension of a tensor that has the channels of one side of a module, or None if there is none."""
    if side == "norm" or name == "bias":
        return None if side == "input" else 0
    rows_are_inputs = isinstance(module, (*TRANSPOSED, nn.Embedding))
    return 0 if (side == "input") == rows_are_inputs else 1


def resize(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Change the numbers of channels of plain layers and normalisation layers to those of given tensors.

    The new parameters and buffers are not initialised. Tensors of other modules are left as they are, so that loading
    them fails if their shapes differ.
    """
    for name, module in network.named_modules():
        if type(module) not in (*LAYERS, *NORMS):
            continue
        prefix = f"{name}." if name else ""
        for own, value in (*module._parameters.items(), *module._buffers.items()):
            new = tensors.get(f"{prefix}{own}")
            if value is None or new is None or new.shape == value.shape or new.dim() != value.dim():
                continue
            empty = value.new_empty(new.shape)
            if own in module._parameters:
                module._parameters[own] = nn.Parameter(empty, requires_grad=value.requires_grad)
            else:
                module._buffers[own] = empty
        _describe(module)


def _describe(module: Any) -> None:
    """Set the attributes of a module that contain its numbers of channels, from the shapes of its tensors."""
    if type(module) in NORMS:
        if (first := next((t for t in (module.weight, module.running_mean) if t is not None), None)) is not None:
            module.num_features = len(first)
        return
    sides = sides_of(module)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = sides["output"], sides["input"]
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = sides["input"], sides["output"]
    elif module.groups == 1:
        module.out_channels, module.in_channels = sides["output"], sides["input"]
