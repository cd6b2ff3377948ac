"""Closed paths through the latent space, for videos."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.plugin.protocols import StyleBased
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng
from gankit.sampling.interpolation import lerp, slerp
from gankit.sampling.sampler import Sampler

DRAWS = 10_000
"""Maximum number of times that `key_points` redraws z."""


def codes(z: Tensor) -> Tensor:
    """Return a mask of the elements of z (N, L) that are exactly 0 or 1, as in one-hot codes of InfoGAN and MGAN."""
    return (z == 0) | (z == 1)


def key_points(
    sampler: Sampler, condition: Tensor | None, count: int, keys: int, seed: int, truncation: float | None = None
) -> Tensor:
    """Draw the key points of each sample's path: latent vectors (keys, count, L).

    Interpolation between two different one-hot codes gives no valid code. Therefore all key points of one sample have
    the same code. The code consists of the elements that are 0 or 1 in the sample's first key point. Different samples
    may have different codes.

    Args:
        sampler: sampler with the generator and the prior.
        condition: condition of each sample, (count, ...), or None.
        count: number of samples.
        keys: number of key points of each sample.
        seed: random seed.
        truncation: threshold for z, or None.

    Raises:
        InputError: z of the prior cannot be truncated, or the prior has too many different codes.
    """
    first = sampler.latent(count, condition, seed, truncation)
    code = codes(first)
    points = first.expand(keys, *first.shape).clone()
    found = torch.ones(count, dtype=torch.int64)
    for draw in range(DRAWS):
        z = sampler.latent(count, condition, derived_seed(seed, f"key points/{draw}"), truncation)
        rows = ((z == first) | ~code).all(1).logical_and(found < keys).nonzero().flatten()
        points[found[rows], rows] = z[rows]
        found[rows] += 1
        if (found == keys).all():
            return points
    raise InputError("z of the prior has too many different codes for a path between equal ones; use another prior")


class Synthesis(nn.Module):
    """Second part of a style-based generator: a network whose input is style vectors (B, L, W) in place of z."""

    def __init__(self, network: StyleBased) -> None:
        super().__init__()
        self.network = network

    def forward(self, styles: Tensor, condition: Tensor | None) -> Tensor:
        """Return images (B, C, H, W). The condition has no effect, because the style vectors contain it."""
        return self.network.synthesize(styles)


@torch.no_grad()
def to_styles(sampler: Sampler, points: Tensor, condition: Tensor | None) -> tuple[Sampler, Tensor]:
    """Map the key points of z (keys, count, L) to style vectors, (keys, count, layers, W), after truncation.

    Return a sampler that takes style vectors in place of z, and the style vectors on the CPU.

    Raises:
        InputError: the generator is not style-based.
    """
    if not isinstance(sampler.generator, StyleBased):
        raise InputError("--space w: the generator has no w; use z, or a generator such as stylegan2")
    with eval_mode(sampler.generator), fork_rng(sampler.device):
        styles = [sampler.generator.styles(*sampler.inputs(z, condition)).float().cpu() for z in points]
    moved = copy.copy(sampler)
    moved.generator = Synthesis(sampler.generator)
    return moved, torch.stack(styles)


def loop_position(points: Tensor, t: float, spherical: bool) -> Tensor:
    """Return z or w at position t in [0, 1) of closed paths through key points. Position 0 is the first key point.

    A path connects consecutive key points by arcs or lines, and returns from the last key point to the first.

    Args:
        points: key points, (keys, count, ...).
        t: position. Each arc or line covers an interval of length 1 / keys.
        spherical: True for `slerp`, False for `lerp`.
    """
    keys = len(points)
    number = int(t * keys)
    p, q = (points[k % keys].double() for k in (number, number + 1))
    part = torch.tensor(t * keys - number, dtype=torch.float64)
    return (slerp if spherical else lerp)(p, q, part).to(points.dtype)
