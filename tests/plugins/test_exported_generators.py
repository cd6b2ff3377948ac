"""Bundled generators in TorchScript: labels in any order, noise, and truncation as a part of the file."""

import io

import pytest
import torch

from gankit import Sampler
from gankit.sampling.export import export
from gankit.sampling.generator_file import save_generator
from gankit.testing import tiny_run, train_iterations
from gankit.testing.harness import tiny_registry

GENERATORS = {
    "dcgan": {"width": 4},
    "conditional_dcgan": {"width": 4},
    "igan_vn": {"channels": 4},
    "stylegan2": {"w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8, "conditional": True},
}


@pytest.fixture
def sampler_of(tmp_path):
    """Function that trains a generator for one iteration, saves it, and loads it with overrides."""

    def make(name, *overrides, noise=0.0):
        changes = {"generator": {"use": name, **GENERATORS[name]}, "data": {"use": "tiny", "classes": 3}}
        changes["train"] = {"batch_size": 9}
        run = train_iterations(tiny_run({}, changes))
        for key, parameter in run.generator.named_parameters():
            if key.endswith("noise.strength"):
                parameter.data.fill_(noise)
        save_generator(run, tmp_path / "g.safetensors")
        return Sampler.load(tmp_path / "g.safetensors", "cpu", registry=tiny_registry({}), overrides=overrides)

    return make


def function_of(sampler):
    return torch.jit.load(io.BytesIO(export(sampler, "torchscript", {}).data))


@torch.no_grad()
@pytest.mark.parametrize("name", GENERATORS)
def test_exported_images_are_those_of_the_network(sampler_of, name):
    sampler = sampler_of(name)
    function = function_of(sampler)
    for labels in ([2], [1, 1, 1, 1], [0, 2, 0, 1, 0, 0, 2], list(range(3)) * 20):
        condition = torch.tensor(labels) if sampler.condition else None
        z = sampler.latent(len(labels), condition, seed=9)
        images = function(z, *([] if condition is None else [condition]))
        torch.testing.assert_close(images, torch.cat(list(sampler.outputs(z, condition))), atol=1e-5, rtol=0)


@torch.no_grad()
def test_noise_is_stored_and_psi_is_a_part_of_the_file(sampler_of):
    sampler = sampler_of("stylegan2", noise=0.5)
    labels, z = torch.tensor([1, 1]), sampler.latent(1, torch.tensor([1]), seed=0).expand(2, -1)
    first, second = function_of(sampler)(z, labels)
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)
    drawn, again = torch.cat(list(sampler.outputs(z, labels)))
    assert (drawn - again).abs().max() > 0.01
    # With psi = 0, every z of any class gives the mean image, with the stored noise.
    mean = function_of(sampler_of("stylegan2", "generator.psi=0", noise=0.5))
    images = mean(torch.randn(3, sampler.spec.latent_size), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(images, images[:1].expand(3, -1, -1, -1), atol=1e-6, rtol=0)
    assert (images[0] - first).abs().max() > 1e-3
