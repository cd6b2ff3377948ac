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


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-3.0, -1.0)])
def test_the_uniform_prior_fills_its_interval(low, high):
    z = prior(Uniform, size=50, low=low, high=high).sample_latent(4000, CPU, torch.Generator().manual_seed(0))
    assert z.min() >= low
    assert z.max() <= high
    shares = torch.histc(z, bins=8, min=low, max=high) / z.numel()
    assert (shares - 1 / 8).abs().max() < 5 * (1 / 8 * 7 / 8 / z.numel()) ** 0.5


@pytest.mark.parametrize("plugin", [Normal, Uniform])
def test_size_of_spec_and_samples(plugin):
    spec = Spec()
    prior(plugin, size=7).adjust_spec(spec)
    assert spec.latent_size == 7
    assert prior(plugin, size=7).sample_latent(3, CPU, None).shape == (3, 7)


@pytest.mark.parametrize("plugin", [Normal, Uniform])
@pytest.mark.parametrize("device", DEVICES)
def test_samples_depend_on_the_generator_only(plugin, device):
    before = torch.get_rng_state()
    one, two, other = (
        prior(plugin).sample_latent(4, torch.device(device), torch.Generator(device).manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert one.device.type == device
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, -1.0)])
def test_an_empty_interval_is_refused(low, high):
    with pytest.raises(ValidationError, match="must be below high"):
        Uniform.Config(low=low, high=high)
