"""Trick: style mixing."""

import pytest
import torch

from gankit import InputError
from gankit.sampling.generator_file import save_generator
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_run, train_iterations
from gankit_plugins.trick.style_mixing import StyleMixing

STYLEGAN2 = {"use": "stylegan2", "w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8}
INSTALLED = {
    "generator": STYLEGAN2,
    "latent": {"use": "normal", "size": 8},
    "normalization": {"generator": {"use": "none"}, "discriminator": {"use": "none"}},
}
"""Plugins that a generator file needs are installed."""


def test_training_mixes_and_samples_do_not(tmp_path):
    run = train_iterations(tiny_run({StyleMixing: {"probability": 1.0}}, INSTALLED), 1)
    G, z = run.generator, torch.randn(5, run.spec.latent_size)
    ws = G.train().styles(z, None)
    assert not torch.equal(ws[:, 0], ws[:, -1])
    ws = G.eval().styles(z, None)
    assert torch.equal(ws[:, 0], ws[:, -1])
    save_generator(run, tmp_path / "g.safetensors")
    loaded = Sampler.load(tmp_path / "g.safetensors", "cpu").generator
    assert torch.equal(loaded.styles(z, None), ws)


def test_other_generators_are_refused():
    with pytest.raises(InputError, match="style_mixing needs a generator with a mapping network"):
        tiny_run({StyleMixing: {}})
