"""Directions of the generators of plugins: known weights, both methods, and moves of w after truncation."""

import pytest
import torch

from gankit import Sampler, find_directions
from gankit.runtime.rng import derived_seed
from gankit.sampling.generator_file import save_generator
from gankit.testing import tiny_run

STYLE = {"w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8, "noise": False, "psi": 0.5}
CLASSES = {"data": {"classes": 2}}
NORM = {"normalization": {"generator": {"use": "none"}, "discriminator": {"use": "none"}}}


def rows(matrix, start):
    """Return weights (outputs, inputs) as rows of 8 columns, with zeros in the columns that the layer does not get."""
    padded = torch.zeros(len(matrix), 8)
    padded[:, start : start + matrix.shape[1]] = matrix
    return padded


def dcgan(G):
    return G.body[0][0].weight.flatten(2).movedim(0, -1).flatten(0, 1)[:, :8]


def biggan(G):
    first = G.from_z[0].weight
    layers = [rows(first, 0)]
    start = first.shape[1]
    for block, size in zip(G.body, part_lengths(G), strict=True):
        scales = [m for m in block.modules() if type(m).__name__ == "Modulation"]
        layers += [rows(linear.weight[:, :size], start) for m in scales for linear in (m.scale, m.shift)]
        start += size
    return torch.cat(layers)


def part_lengths(G):
    parts = torch.zeros(1, 8).tensor_split(len(G.sources) + 1, dim=1)
    return [part.shape[1] for part in parts[1:]]


def igan_vn(G):
    return torch.cat([G.to_small.weight, G.to_large.weight])


def styles(G):
    """Return the scaled weights of all affine layers of a style generator."""
    affine = [m for name, m in G.synthesis.named_modules() if name.endswith("affine")]
    return torch.cat([m.scale * m.weight for m in affine])


CASES = {
    "dcgan": ({"width": 2}, NORM, dcgan),
    "conditional_dcgan": ({"width": 2}, NORM | CLASSES, dcgan),
    "biggan": ({"width": 2, "embedding": 3}, NORM | CLASSES, biggan),
    "igan_vn": ({"channels": 2}, NORM | CLASSES | {"train": {"class_balanced": True}}, igan_vn),
    "stylegan": (STYLE, NORM, styles),
    "stylegan2": (STYLE | {"conditional": True}, NORM | CLASSES, styles),
}


@pytest.fixture
def sampler_of(tmp_path):
    """Function that returns a sampler with the generator file of a tiny run."""

    def make(name, changes=None):
        settings, more, _ = CASES[name]
        parts = {"generator": {"use": name, **settings}, "latent": {"use": "normal", "size": 8}}
        save_generator(tiny_run({}, parts | more | (changes or {})), tmp_path / "generator.safetensors")
        return Sampler.load(tmp_path / "generator.safetensors", "cpu")

    return make


@pytest.mark.parametrize("name", CASES)
def test_closed_form_uses_the_weights_that_get_the_code(sampler_of, name):
    sampler = sampler_of(name)
    A = CASES[name][2](sampler.generator).detach()
    directions = find_directions(sampler, "sefa", count=3, samples=20)
    assert directions.code == ("w" if name.startswith("style") else "z")
    changes = (directions.vectors @ A.T).norm(dim=1)
    torch.testing.assert_close(changes, torch.linalg.svdvals(A)[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_principal_components_of_w_or_of_features(sampler_of, name):
    sampler = sampler_of(name)
    directions = find_directions(sampler, "pca", count=3, samples=200)
    torch.testing.assert_close(directions.vectors.norm(dim=1), torch.ones(3))
    condition = sampler.conditions(4)
    z = sampler.latent(4, condition, 0)
    own, moved = (next(s.outputs(z, condition)) for s in (sampler, sampler.moved(directions, {0: 3.0})))
    assert (own - moved).abs().max() > 1e-5
    if name.startswith("style"):
        G = sampler.generator
        with torch.no_grad():
            ws = G.mapping.w_mean + 0.5 * (G.mapping(z, condition) - G.mapping.w_mean) + directions.shift({0: 3.0})
            expected = G.synthesis(ws[:, None].expand(-1, G.synthesis.layers, -1))
        torch.testing.assert_close(moved, expected)


def test_features_come_after_batch_norm_and_activation(sampler_of):
    """Features after ReLU are not linear in z, so the directions differ from the closed form."""
    batch_norm = {"normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}}}
    sampler = sampler_of("dcgan", batch_norm)
    pca, sefa = (find_directions(sampler, method, count=2, samples=500).vectors for method in ("pca", "sefa"))
    assert (pca * sefa).sum(1).abs().min() < 0.9999
    # The same directions from the generator's own layers.
    z = sampler.latent(500, None, derived_seed(0, "directions"))
    with torch.no_grad():
        features = sampler.generator.body[0](z[:, :, None, None]).flatten(1)
    left = torch.linalg.svd(features - features.mean(0), full_matrices=False).U[:, :2]
    expected = torch.nn.functional.normalize(left.T @ (z - z.mean(0)), dim=1)
    torch.testing.assert_close((pca * expected).sum(1).abs(), torch.ones(2))
