"""The arithmetic of an iteration, and what a chip can do at most."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import torch
from gpu_workloads import Precision
from timing import Loop
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

PEAKS: dict[str, dict[Precision, float]] = {
    r"NVIDIA (H200|H100 80GB HBM3)": {"fp32": 67e12, "tf32": 494.7e12, "bf16": 989.5e12},
    r"NVIDIA A100-(SXM4|PCIE)-\d+GB": {"fp32": 19.5e12, "tf32": 156e12, "bf16": 312e12},
}
"""Floating-point operations a second on dense matrices, as NVIDIA publishes them, by what the device calls itself.
The data sheets of H100 and H200 print TF32 and bf16 with sparsity, which is twice as much."""


def peak(device_name: str, precision: Precision) -> float | None:
    """The published peak in FLOP/s; None for a device that is not in the table."""
    for pattern, of_chip in PEAKS.items():
        if re.fullmatch(pattern, device_name):
            return of_chip[precision]
    return None


def flops_of(loop: Loop) -> int:
    """Floating-point operations of one call: matrix products and convolutions, their first and second derivatives.

    A multiplication and an addition are two. What padding multiplies by zero counts as if it were computed.
    """
    with Flops() as counter:
        loop()
    return counter.total


class Flops(TorchDispatchMode):
    """Adds up the operations inside by torch's formulas.

    torch's own `FlopCounterMode` follows modules by hooks on their gradients as well, and those refuse
    `autograd.grad`, of which penalties are made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.formulas: dict[Any, Any] = {**flop_registry, aten.convolution_backward: convolution_backward_flops}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        formula = self.formulas.get(func.overloadpacket)
        if formula is None:
            # What is made of other operations counts by those.
            with self:
                out = func.decompose(*args, **(kwargs or {}))
            return out if out is not NotImplemented else func(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def convolution_backward_flops(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    output_mask: list[bool],
    **more: Any,
) -> int:
    """Each of the two gradients costs what the convolution itself does.

    torch's own formula leaves the groups out of the weight's gradient: for ten classes side by side it counts ten
    times too much.
    """
    pixels = prod((x if transposed else grad).shape[2:])
    return 2 * len(x) * pixels * weight.numel() * (output_mask[0] + output_mask[1])
