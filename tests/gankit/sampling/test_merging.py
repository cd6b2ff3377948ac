"""Merging of generators: averages, ensembles and refusals."""

import pytest
import torch
from torch import nn

from gankit import InputError, Sampler, merge
from gankit.evaluation.merging import along_line, chosen_weights
from gankit.sampling.ensemble import Ensemble, member_of, uniform_of
from gankit.sampling.generator_file import read_generator_file
from gankit.sampling.merging import checked_weights, weighted_average
from gankit.storage.atomic_io import tensors_to_bytes


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, z, condition=None):
        return torch.full((len(z), 1), self.value) if condition is None else condition[:, None] + self.value


def test_an_average_by_hand():
    first = {"w": torch.tensor([1.0, -2.0]), "n": torch.tensor(7)}
    second = {"w": torch.tensor([3.0, 2.0]), "n": torch.tensor(9)}
    average = weighted_average([first, second], (0.25, 0.75))
    assert average["w"].tolist() == [2.5, 1.0]
    assert average["w"].dtype == torch.float32
    assert average["n"].item() == 7


@pytest.mark.parametrize(("given", "expected"), [(None, (0.5, 0.5)), ((3, 1), (0.75, 0.25)), ((0, 2), (0.0, 1.0))])
def test_weights_have_the_sum_1(given, expected):
    assert checked_weights(given, 2) == expected


@pytest.mark.parametrize("weights", [(1,), (1, -1), (0, 0), (1, 1, 1), (float("nan"), 1), (float("inf"), 1)])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(InputError, match=r"--weights .*: give 2 numbers of at least 0"):
        checked_weights(weights, 2)


def test_members_have_their_shares_and_depend_on_z_alone():
    z = torch.randn(50_000, 8, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(member_of(z, (0.5, 0.2, 0.3))) / len(z)
    # Four standard deviations of a share of 0.5 among 50,000.
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.2, 0.3]), atol=0.009, rtol=0)
    assert torch.equal(member_of(z[7:9], (0.5, 0.5)), member_of(z, (0.5, 0.5))[7:9])
    u = uniform_of(z)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(torch.corrcoef(torch.stack([u, z[:, 0]]))[0, 1]) < 0.02


def test_an_ensemble_by_a_loop():
    z = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    ensemble = Ensemble([Constant(1.0), Constant(2.0)], (0.4, 0.6))
    expected = [[1.0 + int(number)] for number in member_of(z, (0.4, 0.6))]
    assert ensemble(z).tolist() == expected
    condition = torch.arange(9) * 10.0
    assert ensemble(z, condition)[:, 0].tolist() == [
        c + e[0] for c, e in zip(condition.tolist(), expected, strict=True)
    ]
    assert Ensemble([Constant(1.0), Constant(2.0)], (1.0, 0.0))(z).unique().tolist() == [1.0]


def test_the_line_has_both_ends():
    assert list(along_line(lambda weights: weights[1] * 10)) == [(0, 0), (0.25, 2.5), (0.5, 5), (0.75, 7.5), (1, 10)]


def test_chosen_weights_minimise_a_known_metric():
    """The squared distance of the weights from (0.6, 0.4) is least at these weights, which need five rounds."""
    target = torch.tensor([0.6, 0.4])
    weights, value = chosen_weights(lambda w: (torch.tensor(w) - target).square().sum().item(), 2)
    assert weights == pytest.approx((0.6, 0.4))
    assert value == pytest.approx(0, abs=1e-12)
    assert chosen_weights(lambda w: w[1], 2, higher=True) == ((0.0, 1.0), 1.0)


@pytest.fixture
def files(file):
    return [file("a.safetensors"), file("b.safetensors", seed=1)]


def test_an_average_is_an_ordinary_file(files, tmp_path):
    out = tmp_path / "average.safetensors"
    assert merge(files, out, (1, 3), trust=True) == (0.25, 0.75)
    (card, merged), (_, a), (_, b) = map(read_generator_file, (out, *files))
    for name in merged:
        torch.testing.assert_close(merged[name].float(), (a[name] * 0.25 + b[name] * 0.75).float())
    assert card["generator"] == "average of 2"
    assert [one["weight"] for one in card["merged"]] == [0.25, 0.75]
    assert Sampler.load(out, "cpu", trust=True).sample(2)[0].shape[0] == 2


def test_a_sample_of_an_ensemble_is_that_of_its_member(files, tmp_path):
    out = tmp_path / "ensemble.safetensors"
    merge(files, out, (0.3, 0.7), ensemble=True, trust=True)
    whole, *members = (Sampler.load(path, "cpu", trust=True) for path in (out, *files))
    condition = whole.conditions(20)
    z = whole.latent(20, condition, seed=4)
    images, *own = (torch.cat(list(one.images(z, condition))) for one in (whole, *members))
    expected = torch.stack(own)[member_of(z, (0.3, 0.7)), torch.arange(20)]
    assert torch.equal(images, expected)
    assert 0 < member_of(z, (0.3, 0.7)).sum() < 20
    with pytest.raises(InputError, match="is an ensemble already"):
        merge([out, files[0]], tmp_path / "nested.safetensors", trust=True)


def test_generators_that_do_not_fit_are_refused(files, file, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match=r"--out .*x\.pt: choose the name of a file that ends in \.safetensors"):
        merge(files, tmp_path / "x.pt")
    before = files[1].read_bytes()
    with pytest.raises(InputError, match=r"--out .*b\.safetensors: is the generator itself"):
        merge(files, files[1])
    assert files[1].read_bytes() == before
    with pytest.raises(InputError, match="give at least two generators"):
        merge(files[:1], out)
    other = file("c.safetensors", latent={"size": 3})
    with pytest.raises(InputError, match="latent_size is 3"):
        merge([files[0], other], out)
    assert not out.exists()


@pytest.mark.parametrize("change", [{"members": {}}, {"members": [{}, {}]}, {"weights": [1.0]}, {"weights": None}])
def test_a_file_with_altered_members_is_refused(files, tmp_path, change):
    out = tmp_path / "ensemble.safetensors"
    merge(files, out, ensemble=True, trust=True)
    card, tensors = read_generator_file(out)
    out.write_bytes(tensors_to_bytes(tensors, card | change))
    with pytest.raises(InputError, match="is not a generator file that this version of gankit can read"):
        Sampler.load(out, "cpu", trust=True)
