"""Trick: spectral norm of all weights beside another normalisation."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gankit import InputError, Sampler
from gankit.sampling.generator_file import save_generator
from gankit.testing import train_iterations
from gankit.testing.harness import weights_of

NETWORKS = {"generator": {"use": "dcgan", "width": 4}, "discriminator": {"use": "dcgan", "width": 4}}
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def layers(network):
    return [m for m in network.modules() if isinstance(m, LAYERS)]


def test_largest_singular_value_of_every_weight_is_1_beside_batch_norm(start_run):
    run = train_iterations(start_run(NETWORKS | {"tricks": {"spectral_weights": {"iterations": 30}}}), 2)
    G = run.generator.eval()
    assert sum(isinstance(m, nn.BatchNorm2d) for m in G.modules()) > 0
    for layer in layers(G):
        # A transposed convolution has its input channels first.
        matrix = layer.weight.transpose(0, 1).flatten(1)
        assert torch.linalg.svdvals(matrix)[0].item() == pytest.approx(1, rel=1e-3)
    assert not any(map(parametrize.is_parametrized, layers(run.discriminator)))


def test_it_is_the_normalisation_spectral_norm(start_run):
    """Compare the trick without another normalisation, and the normalisation, weight for weight."""
    trick = {"tricks": {"spectral_weights": {}}, "normalization": {"generator": {"use": "none"}}}
    norm = {"normalization": {"generator": {"use": "spectral_norm"}}}
    first, second = (weights_of(train_iterations(start_run(NETWORKS | change), 3)) for change in (trick, norm))
    assert first == second


def test_it_includes_layers_of_tricks_before_it(start_run):
    tricks = {"self_attention": {}, "spectral_weights": {"players": ["generator", "discriminator"]}}
    run = start_run(NETWORKS | {"tricks": tricks})
    for network in (run.generator, run.discriminator):
        assert all(map(parametrize.is_parametrized, layers(network)))
        assert sum("attention" in name for name, _ in network.named_parameters()) == 5


def test_generator_file(start_run, tmp_path):
    run = train_iterations(start_run(NETWORKS | {"tricks": {"spectral_weights": {}}}), 2)
    save_generator(run, tmp_path / "generator.safetensors")
    loaded = Sampler.load(tmp_path / "generator.safetensors")
    assert torch.equal(Sampler.of_run(run).sample(4, seed=1)[0], loaded.sample(4, seed=1)[0])


def test_second_spectral_norm_is_refused(assembled):
    change = {
        "normalization": {"discriminator": {"use": "spectral_norm"}},
        "tricks": {"spectral_weights": {"players": ["discriminator"]}},
    }
    with pytest.raises(InputError, match=r"normalization\.discriminator is spectral_norm, which divides the same"):
        assembled(NETWORKS | change)
