"""Stand-in accelerator: a simulated device that needs no GPU. Tests use it to detect tensors on the wrong device.

PyTorch's CPU build has the device type `lazy`, but no kernels for this device. For the dispatch key of `lazy`, this
module registers a fallback, which runs each operator on data in the CPU's memory. As on a GPU, operands on two devices
cause an error. The fallback also records each copy of a value to the host, because the CPU would wait for a GPU at each
of these copies. Autograd for `lazy` runs in the calling thread.

Streams, pinned memory, memory limits and the random number generator of a device are not simulated. Random numbers come
from the CPU's random number generator. Autocast can be turned on, but has no effect, because PyTorch has no autocast
for `lazy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

STAND_IN = "lazy"
"""Name of the PyTorch device type that the stand-in accelerator uses."""

SIZE_FROM_VALUES = ("aten.nonzero", "aten.masked_select", "aten.unique", "aten._unique", "aten.bincount")
"""Operators whose output size depends on the values of the input. The CPU must wait for the GPU to get the size."""

_host_reads: list[str] = []


class StandInTensor(Tensor):
    """Tensor whose device is the stand-in accelerator, and whose data are in the CPU's memory."""

    data_on_cpu: Tensor

    @staticmethod
    def __new__(cls: type[StandInTensor], data: Tensor) -> StandInTensor:
        wrapped = Tensor._make_wrapper_subclass(
            cls,
            data.size(),
            strides=data.stride(),
            storage_offset=data.storage_offset(),
            dtype=data.dtype,
            device=torch.device(STAND_IN),
        )
        wrapped.data_on_cpu = data
        return wrapped

    def __init__(self, data: Tensor) -> None: ...

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return run_on_cpu(operator, args, kwargs or {})


def run_on_cpu(operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator on the CPU, and return its result.

    The result is on the stand-in accelerator if an operand is on it, or if the argument `device` selects it. As with
    CUDA, CPU tensors and stand-in tensors may be combined if the CPU tensors have no dimensions or are indices.

    Raises:
        RuntimeError: the operands are on different devices and may not be combined.
    """
    name, device = str(operator), kwargs.get("device")
    if name.startswith("aten._to_copy"):
        source = args[0]
        copied = operator(_unwrap(source), **{key: value for key, value in kwargs.items() if key != "device"})
        to_stand_in = _on_stand_in(source.device if device is None else device)
        if isinstance(source, StandInTensor) and not to_stand_in:
            _host_reads.append(name)
        return StandInTensor(copied) if to_stand_in else copied
    if name.startswith("aten.copy_"):
        target, source = args[:2]
        if isinstance(source, StandInTensor) and not isinstance(target, StandInTensor):
            _host_reads.append(name)
        _unwrap(target).copy_(_unwrap(source))
        return target
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    wrapped = [tensor for tensor in tensors if isinstance(tensor, StandInTensor)]
    if wrapped and "index" not in name and any(t.dim() for t in tensors if not isinstance(t, StandInTensor)):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {STAND_IN} and cpu")
    by_mask = name.startswith("aten.index.") and any(tensor.dtype == torch.bool for tensor in wrapped[1:])
    if "_local_scalar_dense" in name or name.startswith(SIZE_FROM_VALUES) or by_mask:
        _host_reads.append(name)
    options = tree_map(_unwrap, kwargs)
    options |= {key: value for key, value in (("device", torch.device("cpu")), ("pin_memory", False)) if key in options}
    result = operator(*tree_map(_unwrap, args), **options)
    in_place = {id(tensor.data_on_cpu): tensor for tensor in wrapped}

    def rewrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, StandInTensor):
            return value
        if id(value) in in_place:
            return in_place[id(value)]
        return StandInTensor(value) if wrapped or _on_stand_in(device) else value

    return tree_map(rewrap, result)


def _unwrap(value: Any) -> Any:
    return value.data_on_cpu if isinstance(value, StandInTensor) else value


def _on_stand_in(device: Any) -> bool:
    return device is not None and torch.device(device).type == STAND_IN


@contextmanager
def stand_in_accelerator() -> Iterator[list[str]]:
    """Make the device `lazy` usable in the `with` block.

    Yield a list that collects the names of all operators that copy values to the CPU.
    """
    _register()
    _host_reads.clear()
    autocast = torch.autocast.__init__

    def autocast_on_cpu(self: torch.autocast, device_type: str, *more: Any, **options: Any) -> None:
        autocast(self, "cpu" if device_type == STAND_IN else device_type, *more, **options)

    with (
        mock.patch.object(torch.autocast, "__init__", autocast_on_cpu),
        mock.patch.object(torch, "tensor", _created_on_cpu(torch.tensor)),
        mock.patch.object(torch, "as_tensor", _created_on_cpu(torch.as_tensor)),
    ):
        yield _host_reads


def _created_on_cpu(create: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a replacement for `torch.tensor` or `torch.as_tensor` that can create tensors on the stand-in accelerator.

    The replacement creates the tensor on the CPU and then moves it, because the original function does not call the
    fallback.
    """

    def created(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        if not _on_stand_in(device):
            return create(data, device=device, **options)
        return create(data, **options).to(device)

    return created


@cache
def _register() -> torch.library.Library:
    """Register the fallback for all operators. The fallback stays registered as long as the returned library exists."""
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda operator, *args, **kwargs: run_on_cpu(operator, args, kwargs), "Lazy")
    return library
