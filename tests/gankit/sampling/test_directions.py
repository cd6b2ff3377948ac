"""Tests of directions: against numpy and known answers, moves of z and w, and files."""

import json

import numpy
import pytest
import torch
from torch import nn

from gankit import InputError
from gankit.plugin.protocols import StyleBased
from gankit.sampling.directions import (
    Directions,
    closed_form_directions,
    directions_file,
    load_directions,
    observe,
    positive_signs,
    principal_components,
    regressed_directions,
    save_directions,
    weights_hash,
)
from gankit.sampling.find_directions import direction_rows, find_directions
from gankit.sampling.sampler import Sampler
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes

GAINS = torch.tensor([0.5, 3.0, 1.0, 2.0])
ORDER = [1, 3, 2, 0]  # numbers of GAINS from large to small


class LinearGenerator(nn.Module):
    """Generator whose image is a rotated A z, with the singular values GAINS."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 64)
        self.layer.weight.data = torch.linalg.qr(torch.randn(64, 4, generator=torch.Generator().manual_seed(1)))[0]
        self.layer.weight.data *= 0.1 * GAINS

    def forward(self, z, condition):
        return self.layer(z).view(-1, 1, 8, 8)


class TwoLayers(LinearGenerator):
    """Generator with a nonlinear layer between two linear ones."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 64)

    def forward(self, z, condition):
        return self.last(super().forward(z, condition).flatten(1).tanh()).view(-1, 1, 8, 8)


class StyleGenerator(nn.Module):
    """Generator with w = GAINS * z, truncation towards a mean, and three layers whose outputs are added."""

    style_layers = 3

    def __init__(self, psi=1.0):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 64) for _ in range(3))
        self.psi = psi

    def map_latent(self, z, condition):
        return GAINS * z

    def styles(self, z, condition):
        return (1 + self.psi * (self.map_latent(z, condition) - 1))[:, None].expand(-1, 3, -1)

    def synthesize(self, ws):
        return sum(layer(w) for layer, w in zip(self.layers, ws.unbind(1), strict=True)).tanh().view(-1, 1, 8, 8)

    def forward(self, z, condition):
        return self.synthesize(self.styles(z, condition))


@pytest.fixture
def sampler(file):
    """Function that returns a sampler with the given generator."""
    loaded = Sampler.load(file(data={"classes": 0}))

    def make(generator):
        loaded.generator = generator.eval()
        return loaded

    return make


def test_principal_components_are_those_of_numpy():
    x = torch.randn(200, 12) @ torch.randn(12, 12) + 5
    vectors, coordinates = principal_components(x, 4)
    centred = (x - x.mean(0)).double().numpy()
    left, _, right = numpy.linalg.svd(centred, full_matrices=False)
    for k in range(4):
        sign = numpy.sign(vectors[k].numpy() @ right[k])
        numpy.testing.assert_allclose(sign * vectors[k].numpy(), right[k], atol=1e-4)
        numpy.testing.assert_allclose(sign * coordinates[:, k].numpy(), left[:, k], atol=1e-4)


def test_components_of_many_features_are_exact_enough():
    """The randomised decomposition finds 3 strong components among 500 features with noise."""
    strong = torch.linalg.qr(torch.randn(500, 3))[0].T
    x = torch.randn(300, 3) * torch.tensor([9.0, 6.0, 4.0]) @ strong + 0.1 * torch.randn(300, 500)
    vectors, _ = principal_components(x, 3)
    right = numpy.linalg.svd((x - x.mean(0)).numpy(), full_matrices=False)[2]
    assert numpy.abs((vectors.numpy() * right[:3]).sum(1)).min() > 0.9999


def test_regression_is_least_squares():
    z = torch.randn(100, 5)
    _, coordinates = principal_components((z @ torch.randn(5, 30)).tanh(), 3)
    solution = numpy.linalg.lstsq(coordinates.numpy(), (z - z.mean(0)).numpy(), rcond=None)[0]
    expected = solution / numpy.linalg.norm(solution, axis=1, keepdims=True)
    numpy.testing.assert_allclose(regressed_directions(z, coordinates).numpy(), expected, atol=1e-4)


def test_closed_form_maximises_the_change_of_the_first_layer():
    A = torch.randn(40, 6)
    vectors = closed_form_directions(A, 6)
    right = numpy.linalg.svd(A.double().numpy())[2]
    numpy.testing.assert_allclose(numpy.abs((vectors.double().numpy() * right).sum(1)), numpy.ones(6), atol=1e-5)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(6))
    changes = (vectors @ A.T).norm(dim=1)
    assert (changes[:-1] >= changes[1:]).all()
    random = nn.functional.normalize(torch.randn(1000, 6), dim=1)
    assert (random @ A.T).norm(dim=1).max() <= changes[0] + 1e-5


def test_signs_are_positive_at_the_largest_entry():
    signed = positive_signs(torch.tensor([[1.0, -2.0], [3.0, -1.0]]))
    assert signed.tolist() == [[-1.0, 2.0], [3.0, -1.0]]


def test_first_layers_are_found_behind_splits_and_concatenations():
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.to_map = nn.ConvTranspose2d(3, 2, 4)
            self.to_scale = nn.Linear(2 + 1, 2)
            self.of_class = nn.Linear(2, 2)  # does not depend on z
            self.middle = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True))
            self.last = nn.Conv2d(2, 1, 1)

        def forward(self, z):
            maps = self.to_map(z[:, :3, None, None]).relu()
            scale = self.to_scale(torch.cat([z[:, 3:], torch.ones(len(z), 1)], dim=1))
            shift = self.of_class(torch.ones(len(z), 2))
            return self.last(self.middle(maps * scale[:, :, None, None] + shift[:, :, None, None]))

    network, z = Parts(), torch.randn(6, 5)
    observed = observe(network, network, z)
    maps = network.to_map(z[:, :3, None, None])
    scale = network.to_scale(torch.cat([z[:, 3:], torch.ones(6, 1)], dim=1))
    torch.testing.assert_close(torch.cat(observed.first, 1), torch.cat([maps.flatten(1), scale], 1))
    shift = network.of_class(torch.ones(6, 2))
    features = (maps.relu() * scale[:, :, None, None] + shift[:, :, None, None]).relu()
    torch.testing.assert_close(observed.features, features.flatten(1))
    assert all(p.requires_grad for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("generator", [LinearGenerator, TwoLayers, StyleGenerator])
@pytest.mark.parametrize("method", ["pca", "sefa"])
def test_known_directions_of_generators(sampler, generator, method):
    """The singular values of the first layer are GAINS, and so are the standard deviations of the style generator."""
    torch.manual_seed(0)
    network = generator()
    if generator is StyleGenerator:
        rotations = (torch.linalg.qr(torch.randn(64, 4))[0] for _ in network.layers)
        for layer, rotation in zip(network.layers, rotations, strict=True):
            layer.weight.data = rotation * GAINS
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    directions = find_directions(sampler(network), method, count=9, samples=4000)
    assert (directions.code, directions.method) == ("w" if generator is StyleGenerator else "z", method)
    expected = torch.eye(4)[ORDER]
    tolerance = 1e-5 if method == "sefa" else 0.1
    torch.testing.assert_close(directions.vectors, expected, atol=tolerance, rtol=0)
    deviations = GAINS[ORDER] if generator is StyleGenerator else torch.ones(4)
    torch.testing.assert_close(directions.deviations, deviations, atol=0.05, rtol=0.05)
    torch.testing.assert_close(directions.mean, torch.zeros(4), atol=0.2, rtol=0)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    again = find_directions(sampler(network), method, count=2, samples=4000)
    torch.testing.assert_close(again.vectors, directions.vectors[:2], atol=1e-4, rtol=0)


def test_samples_limit_the_components_but_not_the_closed_form(sampler):
    assert len(find_directions(sampler(TwoLayers()), "pca", samples=3).vectors) == 2
    assert len(find_directions(sampler(TwoLayers()), "sefa", samples=3).vectors) == 4


def test_deviations_of_w_do_not_depend_on_truncation(sampler):
    one, other = (find_directions(sampler(StyleGenerator(psi)), "pca", 3, 100) for psi in (1.0, 0.0))
    assert torch.equal(one.deviations, other.deviations)


def test_generators_that_no_method_fits_are_refused(sampler):
    class Without(nn.Module):
        def forward(self, z, condition):
            return z.repeat(1, 16).view(-1, 1, 8, 8)

    class Constant(TwoLayers):
        def forward(self, z, condition):
            return super().forward(0 * z, condition)

    with pytest.raises(InputError, match="sefa: z enters no linear layer or convolution"):
        find_directions(sampler(Without()), "sefa", samples=5)
    with pytest.raises(InputError, match="pca: the first features of the generator do not depend on z"):
        find_directions(sampler(Constant()), "pca", samples=5)


VECTORS = torch.tensor([[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
DIRECTIONS = Directions(VECTORS, torch.tensor([2.0, 3.0]), torch.zeros(4), "z", "pca")
SHIFT = torch.tensor([0.6, 0.8, -6.0, 0.0])  # 0.5 deviations along the first direction, -2 along the second


def test_moves_add_to_z_or_to_truncated_w_in_all_layers(sampler):
    z = torch.randn(3, 4)
    for generator in (TwoLayers(), StyleGenerator(0.5)):
        own = sampler(generator)
        moved = own.moved(DIRECTIONS, {0: 0.5, 1: -2.0})
        if isinstance(generator, StyleBased):
            ws = 1 + 0.5 * (GAINS * z - 1) + SHIFT
            expected = sum(layer(ws) for layer in generator.layers).tanh().view(3, 1, 8, 8)
        else:
            expected = generator(z + SHIFT, None)
        torch.testing.assert_close(next(moved.outputs(z, None)), expected)
        torch.testing.assert_close(next(own.outputs(z, None)), generator(z, None))
        # The second move replaces the first one.
        torch.testing.assert_close(next(moved.moved(DIRECTIONS, {}).outputs(z, None)), generator(z, None))


def test_unknown_direction_is_refused():
    for number in (2, -1):
        with pytest.raises(InputError, match=f"direction {number}: there are only directions 0 to 1; choose one"):
            DIRECTIONS.shift({number: 1.0})


def test_rows_lead_through_the_image_itself(sampler):
    own, z = sampler(TwoLayers()), torch.randn(1, 4)
    rows = list(direction_rows(own, DIRECTIONS, z, None, 1.5, 5))
    assert [row.shape for row in rows] == [(5, 1, 8, 8)] * 2
    for row, vector, deviation in zip(rows, VECTORS, (2.0, 3.0), strict=True):
        for image, amount in zip(row, (-1.5, -0.75, 0.0, 0.75, 1.5), strict=True):
            torch.testing.assert_close(image, own.generator(z + amount * deviation * vector, None)[0])


def test_file_belongs_to_its_generator(tmp_path):
    torch.manual_seed(0)
    generator, other, path = TwoLayers(), TwoLayers(), tmp_path / "directions.safetensors"
    save_directions(DIRECTIONS, path, generator, seed=7)
    loaded = load_directions(str(path), generator)
    assert all(torch.equal(getattr(loaded, n), getattr(DIRECTIONS, n)) for n in ("vectors", "deviations", "mean"))
    assert (loaded.code, loaded.method) == ("z", "pca")
    length = int.from_bytes(path.read_bytes()[:8], "little")
    card = json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["gankit"])
    assert card["seed"] == 7
    assert card["generator"] == weights_hash(generator) != weights_hash(other)
    with pytest.raises(InputError, match=r"directions.safetensors: the directions belong to a generator with other w"):
        load_directions(path, other)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="cannot be read"):
        load_directions(path, generator)
    with pytest.raises(InputError, match="there is no file of directions"):
        load_directions(tmp_path / "none.safetensors", generator)


@pytest.mark.parametrize("card", [[], {"generator": None}, {"code": "y"}, {"vectors": torch.ones(2, 3)}])
def test_incomplete_file_is_refused(tmp_path, card):
    tensors = {"directions": torch.ones(2, 4), "deviations": torch.ones(2), "mean": torch.ones(4)}
    if isinstance(card, dict):
        tensors["directions"] = card.pop("vectors", tensors["directions"])
        card = {"format": 1, "method": "pca", "code": "z", "generator": ""} | card
        card = {name: value for name, value in card.items() if value is not None}
    write_bytes(tmp_path / "x.safetensors", tensors_to_bytes(tensors, card))
    with pytest.raises(InputError, match="is not a file of directions"):
        load_directions(tmp_path / "x.safetensors", TwoLayers())


def test_generator_file_is_no_file_of_directions(file):
    path = file()
    with pytest.raises(InputError, match=r"is not a file of directions; write one with `gankit directions FILE`"):
        load_directions(path, TwoLayers())
    assert directions_file(path).name == "directions.safetensors"
    assert directions_file(path.with_name("best.safetensors")).name == "best-directions.safetensors"
