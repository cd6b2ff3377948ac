"""Matches between the tensors of a trained network and the tensors of a new network, by name and shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.formatting import first_names
from gankit.suggest import nearest

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

GREY_AND_COLOUR = {1, 3}
"""Numbers of channels between which a convolution of images is converted."""


class Match(NamedTuple):
    """Tensor of a new network, and the tensor of the trained network from which its first values are copied."""

    name: str
    shape: tuple[int, ...]
    source_shape: tuple[int, ...] | None
    """Shape of the tensor of this name in the trained network. None if there is no such tensor."""

    value: Tensor | None
    """First values of the tensor, with the shape `shape`. None if the tensor keeps its new, random initialisation."""

    reason: str
    """Reason for a conversion, or for keeping the new initialisation. Empty if the values are copied unchanged."""


def renamed(tensors: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename tensors from their names in the source to their names in the run.

    Args:
        tensors: tensors by their names in the source.
        table: new name for each old name, of a tensor or a module. The name of a module applies to all of its tensors.
            The empty name means the whole network. If several names apply to a tensor, the longest is used.

    Raises:
        InputError: a name in `table` matches no tensor, or two tensors get the same name.
    """
    for name in table:
        if not any(_applies(name, tensor) for tensor in tensors):
            known = {name, *(".".join(t.split(".")[:depth]) for t in tensors for depth in range(1, t.count(".") + 2))}
            hint = nearest(name, sorted(known - {name}))
            raise InputError(f"the source has no tensor or module {name!r}; {hint}it has {first_names([*tensors], 4)}")
    result: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        new = _new_name(old, table)
        if new in result:
            raise InputError(f"two tensors of the source get the name {new!r}; change the table of names")
        result[new] = tensor
    return result


def prefix_table(names: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """Return a table of names that adds or removes a prefix, so that at least one name is in `own`.

    The table is empty if no prefix has this effect.
    """
    names, own = sorted(names, key=len, reverse=True), sorted(own, key=len, reverse=True)
    for name in names:
        for other in own:
            if other.endswith(f".{name}"):
                return {"": other.removesuffix(f".{name}")}
            if name.endswith(f".{other}"):
                return {name.removesuffix(f".{other}"): ""}
    return {}


def _applies(name: str, tensor: str) -> bool:
    return not name or tensor == name or tensor.startswith(f"{name}.")


def _new_name(old: str, table: Mapping[str, str]) -> str:
    name = max((name for name in table if _applies(name, old)), key=len, default=None)
    if name is None:
        return old
    rest = old.removeprefix(name).removeprefix(".")
    return ".".join(part for part in (table[name], rest) if part)


def match(network: nn.Module, tensors: Mapping[str, Tensor], channels: int) -> list[Match]:
    """Return one match for each tensor of a network, in the order of its `state_dict`.

    A tensor is taken if its name and its shape are equal to those of a trained tensor. A convolution is converted if
    its shape differs only in the channels of grey or colour images. Integers count the past training, so they begin
    anew. A layer is taken as a whole: if one of its parameters begins anew, all of its tensors do.

    Args:
        network: new network.
        tensors: tensors of the trained network, by their names in the new network.
        channels: number of channels of the run's images.
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    matches = [
        _match(network, name, own, tensors.get(name), channels if name in parameters else 0)
        for name, own in network.state_dict().items()
    ]
    anew = {layer_of(m.name) for m in matches if m.value is None and m.name in parameters}
    halves = {m.name for m in matches if m.value is not None and layer_of(m.name) in anew}
    return [m._replace(value=None, reason="its layer begins anew") if m.name in halves else m for m in matches]


def layer_of(name: str) -> str:
    """Return the name of the layer of a tensor. A parametrised weight belongs to the layer that uses it."""
    return name.rpartition(".")[0].partition(".parametrizations.")[0]


def _match(network: nn.Module, name: str, own: Tensor, given: Tensor | None, channels: int) -> Match:
    shape = tuple(own.shape)
    if given is None:
        return Match(name, shape, None, None, "not in the source")
    source_shape = tuple(given.shape)
    if not (own.is_floating_point() and given.is_floating_point()):
        return Match(name, shape, source_shape, None, "integers count the past training")
    if shape == source_shape:
        return Match(name, shape, source_shape, given, "")
    transposed = isinstance(network.get_submodule(layer_of(name)), TRANSPOSED)
    if channels in shape and (converted := with_channels(given, shape, transposed)) is not None:
        words = "grey to colour" if converted.numel() > given.numel() else "colour to grey"
        return Match(name, shape, source_shape, converted, words)
    return Match(name, shape, source_shape, None, "another shape in the source")


def with_channels(tensor: Tensor, shape: tuple[int, ...], transposed: bool) -> Tensor | None:
    """Convert a convolution's weight or bias between grey and colour images, or return None for any other shape.

    A layer that returns a grey image returns it in all colours, or the mean of the colours. A layer that takes images
    has the same output for a grey image before and after: its weights are repeated and divided by 3, or added.

    Args:
        tensor: weight of a convolution, with three dimensions or more, or its bias.
        shape: new shape. It differs from the old one in the number of input or of output channels.
        transposed: True for a transposed convolution, whose weight has the input channels in dimension 0.
    """
    different = [d for d, (old, new) in enumerate(zip(tensor.shape, shape, strict=False)) if old != new]
    if tensor.dim() != len(shape) or tensor.dim() == 2 or len(different) != 1:
        return None
    dim = different[0]
    before, after = tensor.shape[dim], shape[dim]
    if dim > 1 or {before, after} != GREY_AND_COLOUR:
        return None
    repeated = tensor.float().mean(dim, keepdim=True).expand(shape)
    takes_images = tensor.dim() > 1 and (dim == 0) == transposed
    return repeated * (before / after) if takes_images else repeated


def load(network: nn.Module, matches: Iterable[Match]) -> None:
    """Copy the taken values into a network, in place. Optimisers and frozen parameters keep their tensors."""
    own = network.state_dict()
    with torch.no_grad():
        for one in matches:
            if one.value is not None:
                own[one.name].copy_(one.value)
