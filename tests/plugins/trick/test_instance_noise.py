"""Trick: instance noise."""

from types import SimpleNamespace

import pytest
import torch

from gankit_plugins.trick.instance_noise import InstanceNoise


def noise(images, iteration=0, **settings):
    trick, labels = InstanceNoise(InstanceNoise.Config(**settings)), torch.arange(len(images))
    recipe = SimpleNamespace(train=SimpleNamespace(batch_size=4, iterations=1000))
    run = SimpleNamespace(iteration=iteration, recipe=recipe, step_counts={"discriminator": iteration})
    noisy, labels_after = trick.discriminator_inputs(images, labels, run)
    assert labels_after is labels
    return noisy


FALLING = {"schedule": "linear", "start": 0.4, "end": 0.1, "until": 500}


@pytest.mark.parametrize(("iteration", "sigma"), [(0, 0.4), (250, 0.25), (500, 0.1), (900, 0.1)])
@pytest.mark.parametrize("value", [-1.0, 0.3])
def test_noise_is_normal_with_the_deviation_of_the_iteration(iteration, sigma, value):
    torch.manual_seed(iteration)
    images = torch.full((100, 3, 16, 16), value)
    added = (noise(images, iteration, sigma=FALLING) - images).flatten().double()
    n, v = added.numel(), sigma**2
    # Five standard errors of the mean, of the variance, and of the kurtosis of a normal sample.
    assert added.mean().abs() < 5 * (v / n) ** 0.5
    assert (added.var() - v).abs() < 5 * v * (2 / n) ** 0.5
    assert ((added**4).mean() / v**2 - 3).abs() < 5 * (96 / n) ** 0.5


def test_each_pixel_has_different_noise():
    assert len(noise(torch.zeros(4, 3, 8, 8)).unique()) == 4 * 3 * 8 * 8


def test_gradient_passes_through_and_the_input_does_not_change():
    images = torch.zeros(2, 1, 4, 4, requires_grad=True)
    noise(images).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))
    assert not images.any()


def test_type_and_memory_format_stay():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    noisy = noise(images)
    assert noisy.dtype == torch.bfloat16
    assert noisy.is_contiguous(memory_format=torch.channels_last)


def test_no_random_numbers_are_drawn_once_sigma_is_0():
    images = torch.randn(2, 1, 4, 4)
    before = torch.get_rng_state()
    assert noise(images, iteration=10, sigma=FALLING | {"end": 0.0, "until": 10}) is images
    assert torch.equal(torch.get_rng_state(), before)
