"""Sweeps over numbers and words of a condition, with the same z in a row."""

import pytest
import torch

from gankit.cli.arguments import sweep_values
from gankit.errors import InputError
from gankit.plugin.base import Plugin, hookimpl
from gankit.plugin.condition import VectorCondition
from gankit.plugin.dataset import Dataset
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import short_texts, sweep_rows
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_run, train_iterations
from gankit.testing.harness import tiny_registry

FACES = VectorCondition(("age", "smile", "hair=black", "hair=grey"), ((20, 60), (0, 1), (0, 1), (0, 1)))


class Faces(Plugin):
    """Images of constant values, with two numbers and a word.

    Source: none.
    """

    name = "faces"
    kind = "data"

    @hookimpl
    def load_data(self):
        return Dataset((3, 8, 8), FACES, self.read)

    def read(self):
        number = torch.arange(16)
        values = torch.stack([20 + number, number % 2, number % 3 == 0, number % 3 != 0], 1)
        images = number.to(torch.uint8).view(16, 1, 1, 1).expand(16, 3, 8, 8).contiguous()
        return images, FACES.scaled(values)


@pytest.fixture
def sampler(tmp_path):
    save_generator(train_iterations(tiny_run({Faces: {}}), 1), tmp_path / "generator.safetensors")
    return Sampler.load(tmp_path / "generator.safetensors", trust=True, registry=tiny_registry({Faces: {}}))


def test_a_row_has_one_z_and_a_column_one_value(sampler):
    z, layout = sweep_rows(sampler, {"age": ("20", "40", "60")}, 4, 5, {"hair": "grey"})
    assert (layout.total, layout.columns, layout.row_names) == (12, 3, ())
    assert layout.column_names == ("age=20", "age=40", "age=60")
    assert torch.equal(z[::3], sampler.latent(4, layout.condition[::3], 5))
    assert all(torch.equal(z[::3], z[column::3]) for column in (1, 2))
    rows = layout.condition.unflatten(0, (4, 3))
    assert (rows[:, :, 0] == torch.tensor([-1.0, 0, 1])).all()
    assert (rows[:, :, 2:] == torch.tensor([-1.0, 1])).all()
    assert (rows[:, :, 1] == rows[:, :1, 1]).all()  # the number that is not requested is the same along a row
    assert torch.equal(rows[:, 0, 1], sampler.conditions(4)[:, 1])


def test_two_sweeps_have_one_z_and_all_pairs_of_values(sampler):
    z, layout = sweep_rows(sampler, {"hair": ("black", "grey"), "age": (30, 50, 60)}, 9, 0)
    assert (layout.total, layout.columns) == (6, 3)
    assert layout.row_names == ("hair=black", "hair=grey")
    assert layout.column_names == ("age=30", "age=50", "age=60")
    assert (z == z[0]).all()
    assert layout.condition[:, 0].tolist() == [-0.5, 0.5, 1, -0.5, 0.5, 1]
    assert layout.condition[:, 2].tolist() == [1, 1, 1, -1, -1, -1]


def test_images_of_a_sweep_from_python(sampler):
    images = sampler.sweep({"hair": ("black", "grey"), "age": (30, 50, 60)}, rows=2, wanted={"smile": 1}, seed=3)
    assert images.shape == (2, 2, 3, 3, 8, 8)
    z = sampler.latent(2, sampler.conditions(2), 3)
    condition = sampler.conditions(2, {"smile": 1, "hair": "grey", "age": 50})
    assert torch.equal(images[:, 1, 1], torch.cat(list(sampler.images(z, condition))))


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        ({"agee": (1, 2)}, "agee: the generator has no such condition.*'age'"),
        ({"hair": ("black", "gray")}, "hair: 'gray' is unknown.*'grey'"),
        ({"age": ("old", "young")}, "age: 'old' is not a number"),
        ({"smile": (0, 1)}, "smile: has one value and a sweep"),
    ],
)
def test_a_sweep_that_the_generator_does_not_accept(sampler, sweeps, message):
    with pytest.raises(InputError, match=message):
        sweep_rows(sampler, sweeps, 2, 0, {"smile": 1})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("20..60", ("20", "30", "40", "50", "60")),
        ("1..-1", ("1", "0.5", "0", "-0.5", "-1")),
        ("0.5..1.5e1", ("0.5", "4.125", "7.75", "11.375", "15")),
        ("black,light grey", ("black", "light grey")),
        ("3,1", ("3", "1")),
    ],
)
def test_values_of_a_sweep(text, values):
    assert sweep_values(text, 5) == values


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (("0", "12.8571", "90"), ["0", "12.9", "90"]),
        ((2000, 2001, 2002), ["2000", "2001", "2002"]),
        ((0.30001, 0.30002), ["0.30001", "0.30002"]),
        ((5, 5), ["5", "5"]),
        (("grey", "light grey"), ["grey", "light grey"]),
    ],
)
def test_short_texts_of_values(values, texts):
    assert short_texts(values) == texts
