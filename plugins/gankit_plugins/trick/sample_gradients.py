"""Gradient of a network for each sample, Poisson sampling, clipping, and secret random numbers for DP-SGD."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gankit import DiscriminatorOutput

Parameters = dict[str, Tensor]

WORDS = 624
"""Number of 32-bit words in the state of the Mersenne Twister, PyTorch's generator on the CPU."""


def secret_generator() -> torch.Generator:
    """Return a generator on the CPU whose whole state comes from the operating system.

    A seed is not enough: the Mersenne Twister of PyTorch uses only 32 bits of it, so an attacker can try all seeds.
    """
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    words = torch.frombuffer(bytearray(os.urandom(4 * WORDS)), dtype=torch.int32)
    # The state starts with three values of 8 bytes: the seed, the position and flags. Each word takes 8 bytes.
    state.view(torch.int64)[3 : 3 + WORDS] = words.long() & 0xFFFFFFFF
    return generator.set_state(state)


def poisson_sample(count: int, q: float, generator: torch.Generator) -> Tensor:
    """Return the indices (n,) int64 of a Poisson sample: each of `count` indices is included with probability q."""
    return (torch.rand(count, generator=generator) < q).nonzero()[:, 0]


def clip_factors(gradients: Mapping[str, Tensor], C: float) -> Tensor:
    """Return min(1, C / |g_i|) for each sample, (B,).

    Source:
        Abadi 2016, algorithm 1, "clip gradient".

    Args:
        gradients: gradient of each sample, (B, ...), by the name of the parameter. The norm is that of all parameters.
        C: clipping norm.
    """
    norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
    return (C / norms).clamp(max=1)


def clipped_sum(gradients: Mapping[str, Tensor], factors: Tensor) -> Parameters:
    """Return sum_i factor_i g_i by name, for gradients g_i (B, ...) and factors (B,)."""
    return {name: torch.einsum("b,b...->...", factors.to(g.dtype), g) for name, g in gradients.items()}


def sample_gradients(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    loss: Callable[[Callable[..., Any], Tensor], Any],
    rows: Tensor,
) -> tuple[Parameters, dict[str, Tensor]]:
    """Return the gradient of each sample, (n, ...) by name, and the values (n,) of its loss terms.

    Args:
        network: discriminator. Its buffers are not changed.
        parameters: parameters of the network to differentiate, by name.
        loss: function of a discriminator and a row (1,) that returns the loss of this row, and its terms by name.
        rows: numbers of the samples, (n,) int64.
    """
    buffers = dict(network.named_buffers())

    def loss_of(parameters: Parameters, row: Tensor) -> Any:
        state = parameters | {name: buffer.clone() for name, buffer in buffers.items()}
        return loss(lambda *inputs: functional_call(network, state, inputs), row[None])

    gradients: Callable[..., Any] = vmap(grad(loss_of, has_aux=True), in_dims=(None, 0), randomness="different")
    result: tuple[Parameters, dict[str, Tensor]] = gradients({n: p.detach() for n, p in parameters.items()}, rows)
    return result


def map_output(function: Callable[[Tensor], Tensor], output: DiscriminatorOutput) -> DiscriminatorOutput:
    """Apply a function to each tensor of D's output."""
    logits, features, extra = output
    return DiscriminatorOutput(
        function(logits), function(features), {name: function(one) for name, one in extra.items()}
    )
