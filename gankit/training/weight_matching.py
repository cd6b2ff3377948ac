"""Matches between the tensors of a trained network and the tensors of a new network, by name and shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from gankit.errors import InputError
from gankit.formatting import first_names
from gankit.suggest import nearest

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

GREY_AND_COLOUR = {1, 3}
"""Numbers of image channels, grey and colour, between which the weights of a convolution can be converted."""

COUNTERS = "counters and masks"
"""Reason for which a tensor that is not floating-point keeps its initial values."""


class Match(NamedTuple):
    """Tensor of a new network, and the tensor of the trained network from which its first values are copied."""

    name: str
    shape: tuple[int, ...]
    source_shape: tuple[int, ...] | None
    """Shape of the tensor of this name in the trained network. None if there is no such tensor."""

    value: Tensor | None
    """Values to copy into the tensor, with the shape `shape`. None if the tensor keeps its initial values."""

    reason: str
    """Reason for a conversion, or for keeping the initial values. Empty if the values are copied unchanged."""


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

    A tensor is copied if its name and its shape are equal to those of a trained tensor. A convolution is converted if
    its shape differs only in the channels of grey or colour images. Counters and masks keep their initial values. A
    layer is copied as a whole: if one of its parameters keeps its initial values, all of its tensors do.

    Args:
        network: new network.
        tensors: tensors of the trained network, by their names in the new network.
        channels: number of channels of the run's images.
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    own_tensors = network.state_dict(keep_vars=True)
    # A parameter that two layers share has two names. The source may contain only one of them.
    given = {id(own): tensors[name] for name, own in own_tensors.items() if name in tensors}
    matches = [
        _match(network, name, own, tensors.get(name, given.get(id(own))), channels if name in parameters else 0)
        for name, own in own_tensors.items()
    ]
    new_layers = {layer_of(m.name) for m in matches if m.value is None and m.name in parameters}
    rest = {m.name for m in matches if m.value is not None and layer_of(m.name) in new_layers}
    return [
        m._replace(value=None, reason="the rest of its layer does not fit") if m.name in rest else m for m in matches
    ]


def layer_of(name: str) -> str:
    """Return the name of the layer of a tensor.

    A parametrised weight belongs to its layer: the layer of `conv.parametrizations.weight.original` is `conv`.
    """
    return name.rpartition(".")[0].partition(".parametrizations.")[0]


def _match(network: nn.Module, name: str, own: Tensor, given: Tensor | None, channels: int) -> Match:
    shape = tuple(own.shape)
    if given is None:
        return Match(name, shape, None, None, "not in the source")
    source_shape = tuple(given.shape)
    if not own.is_floating_point():
        return Match(name, shape, source_shape, None, COUNTERS)
    if not given.is_floating_point():
        return Match(name, shape, source_shape, None, f"{str(given.dtype).removeprefix('torch.')} in the source")
    if shape == source_shape:
        return Match(name, shape, source_shape, given, "")
    transposed = isinstance(network.get_submodule(layer_of(name)), TRANSPOSED)
    if (converted := with_channels(given, shape, channels, transposed)) is not None:
        words = "grey to colour" if converted.numel() > given.numel() else "colour to grey"
        return Match(name, shape, source_shape, converted, words)
    return Match(name, shape, source_shape, None, "another shape in the source")


def with_channels(tensor: Tensor, shape: tuple[int, ...], channels: int, transposed: bool) -> Tensor | None:
    """Convert a convolution's weight or bias between grey and colour images, or return None for any other shape.

    If the layer returns images, its output channels are repeated, or averaged over the colours. If the layer takes
    images, its weights are repeated and divided by 3, or summed. Its output for a grey image is then unchanged.

    Args:
        tensor: weight of a convolution, with three dimensions or more, or its bias.
        shape: new shape. It differs from the old one in the number of input or of output channels.
        channels: number of channels of the new images. A layer with another number is a hidden one.
        transposed: True for a transposed convolution, whose weight has the input channels in dimension 0.
    """
    different = [d for d, (old, new) in enumerate(zip(tensor.shape, shape, strict=False)) if old != new]
    if tensor.dim() != len(shape) or tensor.dim() == 2 or len(different) != 1:
        return None
    dim = different[0]
    before, after = tensor.shape[dim], shape[dim]
    if dim > 1 or after != channels or {before, after} != GREY_AND_COLOUR:
        return None
    repeated = tensor.float().mean(dim, keepdim=True).expand(shape)
    takes_images = tensor.dim() > 1 and (dim == 0) == transposed
    return repeated * (before / after) if takes_images else repeated


def load(network: nn.Module, matches: Iterable[Match]) -> None:
    """Copy the values of the matches into a network, in place. Optimisers then still refer to the same tensors."""
    own, taken = network.state_dict(), {m.name: m.value for m in matches if m.value is not None}
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
        for name, module in network.named_modules():
            if isinstance(module, ParametrizationList):
                _update_parametrization(module, [f"{name}.{tensor}" for tensor in module.state_dict()], taken.keys())


def _update_parametrization(module: ParametrizationList, names: list[str], taken: AbstractSet[str]) -> None:
    """Compute the buffers of a parametrisation, such as spectral norm, if only its weight was copied."""
    if any(name.endswith(".original") and name in taken for name in names) and not taken >= set(names):
        module.right_inverse(module.original)
