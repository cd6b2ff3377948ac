"""Tests of closed paths through the latent space."""

import math

import pytest
import torch

from gankit import ClassCondition, InputError, Plugin, hookimpl
from gankit.sampling.sampler import Sampler
from gankit.sampling.walk import codes, key_points, loop_position, to_styles
from gankit.testing import tiny_run
from tests.gankit.sampling.test_projection import Linear, Styled, sampler_of


def test_loop_goes_through_all_key_points_and_is_closed():
    points = torch.randn(3, 4, 6, dtype=torch.float64)
    for spherical in (True, False):
        for number in range(3):
            torch.testing.assert_close(loop_position(points, number / 3, spherical), points[number])
        torch.testing.assert_close(loop_position(points, 1 - 1e-12, spherical), points[0])


def test_arc_keeps_the_length_and_line_is_the_mean_in_the_middle():
    points = torch.randn(4, 5, 9, dtype=torch.float64)
    points /= points.norm(dim=2, keepdim=True)
    for t in torch.linspace(0, 0.999, 17).tolist():
        torch.testing.assert_close(loop_position(points, t, True).norm(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(loop_position(points, 7 / 8, False), (points[3] + points[0]) / 2)


def test_angles_of_equal_times_are_equal():
    points = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]], [[0.0, -1.0]]])
    for t in (0.01, 0.2, 0.25, 0.6, 0.99):
        expected = torch.tensor([[math.cos(2 * math.pi * t), math.sin(2 * math.pi * t)]])
        torch.testing.assert_close(loop_position(points, t, True), expected)


class Coded(Plugin):
    """Prior with one of three one-hot codes and two normal numbers."""

    name = "coded"
    kind = "latent"

    @hookimpl
    def adjust_spec(self, spec):
        spec.latent_size = 5

    @hookimpl
    def sample_latent(self, count, device, generator):
        code = torch.eye(3)[torch.randint(3, (count,), generator=generator)]
        return torch.cat([code, torch.randn(count, 2, generator=generator)], 1).to(device)


class NeverTwice(Plugin):
    """Prior with another one-hot code in each draw."""

    name = "never_twice"
    kind = "latent"

    def __init__(self, config):
        super().__init__(config)
        self.draws = 0

    @hookimpl
    def adjust_spec(self, spec):
        spec.latent_size = 50

    @hookimpl
    def sample_latent(self, count, device):
        self.draws += 1
        return torch.eye(50)[self.draws].expand(count, -1)


@pytest.fixture
def sampler():
    """Function that returns a sampler of a tiny run with a prior."""
    return lambda prior: Sampler.of_run(tiny_run({prior: {}}))


def test_codes_of_a_sample_are_constant(sampler):
    sampler = sampler(Coded)
    points = key_points(sampler, None, 20, 4, seed=3)
    assert points.shape == (4, 20, 5)
    assert torch.equal(points[0], sampler.latent(20, None, 3))
    assert (points[:, :, :3] == points[:1, :, :3]).all()
    assert len(points[0, :, :3].unique(dim=0)) == 3
    assert len(points[:, :, 3].flatten().unique()) == 80
    assert codes(points[0]).sum(1).tolist() == [3] * 20


def test_equal_seeds_give_equal_points_and_more_samples_keep_the_first(sampler):
    sampler = sampler(Coded)
    points = [key_points(sampler, None, 6, 3, seed) for seed in (1, 1, 2)]
    assert torch.equal(points[0], points[1])
    assert not torch.equal(points[0], points[2])


def test_prior_whose_codes_never_repeat_is_refused(sampler, monkeypatch):
    monkeypatch.setattr("gankit.sampling.walk.DRAWS", 20)
    with pytest.raises(InputError, match="too many different codes"):
        key_points(sampler(NeverTwice), None, 2, 3, 0)


def test_path_in_w_passes_the_key_points_and_is_a_line_between_them():
    network, labels = Styled(), torch.tensor([0, 1])
    sampler = sampler_of(network, condition=ClassCondition(("a", "b")))
    points = key_points(sampler, labels, 2, 3, seed=0)
    in_w, styles = to_styles(sampler, points, labels)
    assert styles.shape == (3, 2, 2, 5)
    for number, point in enumerate(points):
        image, expected = (
            torch.cat(list(one.outputs(loop_position(latents, number / 3, False), labels)))
            for one, latents in ((in_w, styles), (sampler, points))
        )
        torch.testing.assert_close(image, expected)
        torch.testing.assert_close(image, network(point, labels).detach())
    middle = torch.cat(list(in_w.outputs(loop_position(styles, 1 / 6, False), labels)))
    mean = (network.map_latent(points[0], labels) + network.map_latent(points[1], labels)) / 2
    torch.testing.assert_close(middle, (mean @ network.A).detach().view(2, 1, 4, 4))


def test_path_in_w_needs_a_w():
    sampler = sampler_of(Linear())
    with pytest.raises(InputError, match="--space w: the generator has no w"):
        to_styles(sampler, key_points(sampler, None, 2, 3, seed=0), None)
