"""The priors: distribution, size, and the random generator that they use."""

import pytest
import torch
from pydantic import ValidationError

from gankit import Spec
from gankit_plugins.latent.normal import Normal
from gankit_plugins.latent.uniform import Uniform

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
CPU = torch.device("cpu")


def prior(plugin, **settings):
    return plugin(plugin.Config(**settings))


def moments(z):
    z = z.double()
    return z.mean().item(), z.var().item(), ((z - z.mean()) ** 4).mean().item() / z.var().item() ** 2


def test_moments_of_the_normal_prior():
    z = prior(Normal, size=50).sample_latent(4000, CPU, torch.Generator().manual_seed(0))
    mean, variance, kurtosis = moments(z)
    n = z.numel()
    assert abs(mean) < 5 / n**0.5
    assert abs(variance - 1) < 5 * (2 / n) ** 0.5
    assert abs(kurtosis - 3) < 5 * (24 / n) ** 0.5


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-3.0, -1.0)])
def test_the_uniform_prior_fills_its_interval(low, high):
    z = prior(Uniform, size=50, low=low, high=high).sample_latent(4000, CPU, torch.Generator().manual_seed(0))
    assert z.min() >= low
    assert z.max() <= high
    shares = torch.histc(z, bins=8, min=low, max=high) / z.numel()
    assert (shares - 1 / 8).abs().max() < 5 * (1 / 8 * 7 / 8 / z.numel()) ** 0.5


def test_the_default_interval_is_minus_one_to_one():
    z = prior(Uniform).sample_latent(500, CPU, None)
    assert -1 <= z.min() < -0.99
    assert 0.99 < z.max() <= 1


def test_the_normal_prior_is_spherical():
    assert Normal.spherical_prior
    assert not Uniform.spherical_prior


@pytest.mark.parametrize("plugin", [Normal, Uniform])
class TestBoth:
    def test_size_of_spec_and_samples(self, plugin):
        spec = Spec()
        prior(plugin, size=7).adjust_spec(spec)
        assert spec.latent_size == 7
        assert prior(plugin, size=7).sample_latent(3, CPU, None).shape == (3, 7)
        assert prior(plugin).sample_latent(3, CPU, None).shape == (3, 100)

    @pytest.mark.parametrize("device", DEVICES)
    def test_samples_depend_on_the_generator(self, plugin, device):
        def draw(seed):
            generator = torch.Generator(device).manual_seed(seed)
            return prior(plugin).sample_latent(4, torch.device(device), generator)

        assert draw(1).device.type == device
        assert torch.equal(draw(1), draw(1))
        assert not torch.equal(draw(1), draw(2))

    def test_a_generator_leaves_the_default_generator_unchanged(self, plugin):
        before = torch.get_rng_state()
        prior(plugin).sample_latent(4, CPU, torch.Generator())
        assert torch.equal(torch.get_rng_state(), before)

    def test_the_default_generator_is_used_without_one(self, plugin):
        samples = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            samples.append(prior(plugin).sample_latent(4, CPU, None))
        assert torch.equal(samples[0], samples[1])
        assert not torch.equal(samples[0], samples[2])

    def test_size_is_at_least_one(self, plugin):
        with pytest.raises(ValidationError):
            plugin.Config(size=0)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, -1.0)])
def test_an_empty_interval_is_refused(low, high):
    with pytest.raises(ValidationError, match="must be below high"):
        Uniform.Config(low=low, high=high)
