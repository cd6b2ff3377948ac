"""Grids whose rows lead from one class to another, for all generators that mix classes."""

import pytest
import torch

from gankit import InputError, Sampler
from gankit.plugin.registry import Registry
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import class_rows
from gankit.testing import train_iterations
from gankit_plugins.layers.conditioning import embedded

CONDITIONAL = {"normalization": {"generator": {"use": "conditional_batch_norm"}}, "tricks": {"projection": {}}}
MIXING = {
    "biggan": {"generator": {"use": "biggan", "width": 4}, "tricks": {"projection": {}, "spectral_weights": {}}},
    "dcgan with conditional_batch_norm": {"generator": {"use": "dcgan", "width": 4}} | CONDITIONAL,
    "conditional_dcgan with both": {"generator": {"use": "conditional_dcgan", "width": 4}} | CONDITIONAL,
    "conditional_dcgan": {"generator": {"use": "conditional_dcgan", "width": 4}},
    "r3gan": {"generator": {"use": "r3gan", "width": 4, "class_embedding": 3}},
    "r3gan with conditional_batch_norm": {"generator": {"use": "r3gan", "width": 4, "class_embedding": 3}}
    | CONDITIONAL,
    "stylegan2": {
        "generator": {"use": "stylegan2", "w_size": 8, "channel_base": 32, "conditional": True, "noise": False}
    },
    "cgan": {"generator": {"use": "cgan", "noise_units": 8, "label_units": 8, "joint_units": 8}},
}
"""Changes to a tiny recipe, whose data have the classes circle and ring."""


def test_weights_of_classes_sum_the_rows_of_a_table():
    table = torch.randn(3, 4)
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.2, 0.3]])
    expected = torch.stack([table[1], 0.5 * table[0] + 0.2 * table[1] + 0.3 * table[2]])
    torch.testing.assert_close(embedded(weights, table), expected)
    assert torch.equal(embedded(torch.tensor([2, 0]), table), table[[2, 0]])


@pytest.mark.parametrize("name", MIXING)
def test_ends_are_the_classes_and_a_row_has_one_z(start_run, perturbed, tmp_path, name):
    run = train_iterations(start_run(MIXING[name]), 2)
    perturbed(run.generator)
    save_generator(run, tmp_path / "generator.safetensors")
    sampler = Sampler.load(tmp_path / "generator.safetensors", "cpu")
    z, layout = class_rows(sampler, 11, 5, "ring", "0", seed=3)
    assert (layout.total, layout.columns, layout.row_names) == (10, 5, ())
    weights = torch.linspace(0, 1, 5).repeat(2)
    torch.testing.assert_close(layout.condition, torch.stack([weights, 1 - weights], 1))
    images = torch.cat(list(sampler.outputs(z, layout.condition))).unflatten(0, (2, 5))
    for column, label in ((0, 1), (4, 0)):
        labels = torch.full((2,), label)
        expected = torch.cat(list(sampler.outputs(sampler.latent(2, labels, 3), labels)))
        torch.testing.assert_close(images[:, column], expected, atol=1e-5, rtol=1e-4)
    steps = (images[:, 1:] - images[:, :-1]).abs().mean((0, 2, 3, 4))
    assert steps.min() > 1e-4
    assert steps.max() < (images[:, 0] - images[:, 4]).abs().mean()


def test_networks_per_class_are_refused(start_run):
    sampler = Sampler.of_run(start_run({}, "igan_vn"))
    with pytest.raises(InputError, match="--to-class: the generator takes only whole classes"):
        class_rows(sampler, 4, 2, "circle", "ring", 0)


def test_unconditional_generators_are_refused(start_run):
    with pytest.raises(InputError, match="the generator is unconditional"):
        class_rows(Sampler.of_run(start_run({})), 4, 2, "circle", "ring", 0)


def test_plugins_that_mix_classes():
    kinds = ("generator", "normalization")
    entries = [e for e in Registry.installed().entries if e.distribution == "gankit" and e.kind in kinds]
    mixing = {entry.name for entry in entries if entry.load().mixes_classes}
    expected = {"biggan", "conditional_dcgan", "cgan", "conditional_batch_norm", "r3gan", "stylegan", "stylegan2"}
    assert mixing == expected | {"tgan", "vgan", "wavegan"}
