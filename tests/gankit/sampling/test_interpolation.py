"""Tests of the interpolation: arcs against rotations computed by hand, and lines."""

import math

import pytest
import torch

from gankit.sampling.interpolation import lerp, slerp


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def positions(*t):
    return numbers(t)[:, None]


def pairs(count=20, size=7):
    randomness = torch.Generator().manual_seed(0)
    return torch.randn(2, count, size, generator=randomness, dtype=torch.float64)


@pytest.mark.parametrize("t", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_slerp_is_a_rotation_in_the_plane_of_p_and_q(t):
    for p, q in zip(*pairs(), strict=True):
        p, q = p / p.norm(), q / q.norm()
        across = q - (q @ p) * p
        angle = t * math.acos(q @ p)
        expected = math.cos(angle) * p + math.sin(angle) * across / across.norm()
        assert torch.allclose(slerp(p, q, positions(t))[0], expected, atol=1e-12)


def test_slerp_of_different_lengths_uses_the_angle_between_the_directions():
    """White 2016: the weights are those of the unit vectors."""
    p, q = (10 * v for v in pairs())
    q = q / 7
    t = 0.3
    for a, b in zip(p, q, strict=True):
        angle = math.acos((a @ b) / (a.norm() * b.norm()))
        expected = (math.sin(0.7 * angle) * a + math.sin(t * angle) * b) / math.sin(angle)
        assert torch.allclose(slerp(a, b, positions(t))[0], expected, atol=1e-12)


@pytest.mark.parametrize("interpolate", [slerp, lerp])
def test_the_ends_are_exact(interpolate):
    p, q = pairs()
    assert torch.equal(interpolate(p, q, numbers([0])), p)
    assert torch.equal(interpolate(p, q, numbers([1])), q)


@pytest.mark.parametrize("q", [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]])
def test_slerp_of_parallel_or_opposite_vectors_is_a_line(q):
    p, q = numbers([1.0, 2.0, 3.0]), numbers(q)
    t = positions(0, 0.25, 0.5, 1)
    assert torch.equal(slerp(p, q, t), lerp(p, q, t))


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1.1e-6, 1e-4, math.pi - 1e-4, math.pi - 1.1e-6])
def test_slerp_of_small_angles_is_an_arc(angle):
    p = numbers([1.0, 0.0])
    q = numbers([math.cos(angle), math.sin(angle)])
    got = slerp(p, q, positions(0.25))[0]
    expected = numbers([math.cos(angle / 4), math.sin(angle / 4)])
    # For nearly opposite vectors, 6 of 16 digits are lost by cancellation.
    assert torch.allclose(got, expected, rtol=0, atol=1e-9)
