"""Tests of the interpolation: arcs against rotations computed by hand, lines, and rows of a grid."""

import math

import pytest
import torch

from gankit.sampling.interpolation import lerp, rows_of_paths, slerp


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def positions(*t):
    return numbers(t)[:, None]


def pairs(count=20, size=7):
    randomness = torch.Generator().manual_seed(0)
    return torch.randn(2, count, size, generator=randomness, dtype=torch.float64)


@pytest.mark.parametrize("t", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_slerp_is_a_rotation_in_the_plane_of_p_and_q(t):
    """Compare with a rotation computed by Gram-Schmidt orthogonalisation."""
    for p, q in zip(*pairs(), strict=True):
        p, q = p / p.norm(), q / q.norm()
        across = q - (q @ p) * p
        angle = t * math.acos(q @ p)
        expected = math.cos(angle) * p + math.sin(angle) * across / across.norm()
        assert torch.allclose(slerp(p, q, positions(t))[0], expected, atol=1e-12)


def test_slerp_in_the_plane_is_a_circle():
    right, up = numbers([2.0, 0.0]), numbers([0.0, 2.0])
    got = slerp(right, up, positions(0, 1 / 3, 2 / 3, 1))
    expected = [[2 * math.cos(a), 2 * math.sin(a)] for a in (0, math.pi / 6, math.pi / 3, math.pi / 2)]
    assert torch.allclose(got, numbers(expected), atol=1e-15)


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


def test_slerp_keeps_the_norm_of_normal_vectors():
    p, q = torch.randn(2, 200, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    half = numbers([0.5])
    assert abs(slerp(p, q, half).norm(dim=1).mean() - 10) < 0.2
    assert abs(lerp(p, q, half).norm(dim=1).mean() - 10 / math.sqrt(2)) < 0.2


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


def test_slerp_in_one_dimension_is_a_line():
    p, q = numbers([[-1.5], [0.5]]), numbers([[2.0], [3.0]])
    assert torch.equal(slerp(p, q, positions(0.5)), (p + q) / 2)


@pytest.mark.parametrize(("spherical", "interpolate"), [(True, slerp), (False, lerp)])
def test_rows_interpolate_from_first_to_last(spherical, interpolate):
    z = torch.randn(12, 5, generator=torch.Generator().manual_seed(2))
    got = rows_of_paths(z, 4, spherical)
    assert got.dtype == z.dtype
    for row in range(3):
        first, last = z[4 * row], z[4 * row + 3]
        assert torch.equal(got[4 * row], first)
        assert torch.equal(got[4 * row + 3], last)
        for step in (1, 2):
            expected = interpolate(first.double(), last.double(), numbers([step / 3]))
            assert torch.allclose(got[4 * row + step].double(), expected, atol=1e-6)
