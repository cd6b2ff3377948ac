"""What loops written by hand have in common, in torch alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def adam(network: nn.Module, lr: float, betas: tuple[float, float], fused: bool | None = True) -> torch.optim.Adam:
    """Adam as one kernel; with None what torch itself would choose."""
    return torch.optim.Adam(network.parameters(), lr=lr, betas=betas, fused=fused)


def step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def freeze(network: nn.Module, frozen: bool) -> None:
    """In the other player's turn a network's weights need no gradients."""
    for parameter in network.parameters():
        parameter.requires_grad_(not frozen)


def penalty(judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """E[(||grad D(x)||_2 - 1)^2] at points x between real and generated images (Gulrajani 2017, equation 3).

    Args:
        judge: (B, C, R, R) to D's output of any shape, without a sigmoid.
        real, fake: (B, C, R, R).
    """
    t = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (t * real + (1 - t) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
    return (torch.linalg.vector_norm(slope.float(), dim=(1, 2, 3)) - 1).square().mean()
