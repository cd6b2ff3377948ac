"""Tests of grids of samples: layout, interpolation, truncation, no effect on the run."""

import math
import random

import pytest
import torch

from gankit import InputError
from gankit.plugin.condition import ClassCondition
from gankit.sampling.grid import GridSampler, grid_layout, interpolate_rows, truncation_rows
from gankit.sampling.sampler import Sampler


def test_grids_do_not_change_the_run(toy_run):
    run = toy_run(generator={"dropout": 0.5})
    run.generator.dropout.eval()
    modes = [m.training for m in run.generator.modules()]
    before = {name: value.clone() for name, value in run.generator.state_dict().items()}
    states = torch.get_rng_state(), random.getstate()
    grids = GridSampler(run)
    (first, samples), (second, _) = grids.draw(), grids.draw()
    assert samples.shape == (len(grids.z), *run.spec.shape)
    assert first.tobytes() == second.tobytes()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert [m.training for m in run.generator.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in run.generator.state_dict().items())


def test_an_error_while_sampling_restores_modes_and_random_state(toy_run, monkeypatch):
    run = toy_run()
    monkeypatch.setattr(run.generator.paint, "forward", lambda x: 1 / 0)
    state = torch.get_rng_state()
    grids = GridSampler(run)
    with pytest.raises(ZeroDivisionError):
        grids.draw()
    assert run.generator.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("classes", "count", "class_index", "layout"),
    [
        (0, 9, None, (9, 3, None)),
        (0, 10, None, (10, 3, None)),
        (0, 1, None, (1, 1, None)),
        (2, 8, None, (8, 4, [0, 0, 0, 0, 1, 1, 1, 1])),
        (2, 9, None, (8, 4, [0, 0, 0, 0, 1, 1, 1, 1])),
        (3, 1, None, (3, 1, [0, 1, 2])),
        (3, 4, 1, (4, 2, [1, 1, 1, 1])),
    ],
)
def test_a_grid_has_a_row_for_each_class(file, classes, count, class_index, layout):
    sampler = Sampler.load(file(data={"classes": classes}))
    number, columns, labels, names, _ = grid_layout(
        sampler, count, {} if class_index is None else {"class": class_index}
    )
    assert (number, columns, None if labels is None else labels.tolist()) == layout
    assert names == (("a", "b", "c")[:classes] if class_index is None else ())


@pytest.mark.parametrize(
    ("classes", "count", "shown", "columns"),
    [
        (20, 20, list(range(20)), 1),
        (21, 64, [0, 3, 6, 9, 11, 14, 17, 20], 8),
        (1000, 9, [0, 500, 999], 3),
        (30, 1, [0], 1),
    ],
)
def test_a_grid_of_many_classes_is_square_and_shows_some_of_them(file, classes, count, shown, columns):
    sampler = Sampler.load(file())
    sampler.condition = ClassCondition(tuple(map(str, range(classes))))
    number, width, labels, names, _ = grid_layout(sampler, count)
    assert (number, width) == (len(shown) * columns, columns)
    assert labels.view(-1, columns).tolist() == [[label] * columns for label in shown]
    assert names == tuple(map(str, shown))


def test_rows_of_an_interpolation_are_outputs_for_interpolated_z(file, toys, monkeypatch):
    """Compare with interpolations computed one by one in a loop."""
    for spherical, interpolate in [
        (True, lambda p, q, t, a: (math.sin((1 - t) * a) * p + math.sin(t * a) * q) / math.sin(a)),
        (False, lambda p, q, t, a: (1 - t) * p + t * q),
    ]:
        monkeypatch.setattr(toys.Normal, "spherical_prior", spherical)
        sampler = Sampler.load(file(generator={"dropout": 0.0}))
        count, columns, labels, *_ = grid_layout(sampler, 8)
        plain = sampler.latent(count, labels, 5)
        z, same_labels = interpolate_rows(sampler, plain, labels, columns)
        assert torch.equal(same_labels, labels)
        got = torch.cat(list(sampler.outputs(z, labels)))
        for row in range(2):
            p, q = plain[4 * row].double(), plain[4 * row + 3].double()
            angle = math.acos(p @ q / p.norm() / q.norm())
            for column in range(4):
                point = interpolate(p, q, column / 3, angle).float()[None]
                expected = next(sampler.outputs(point, torch.tensor([row])))
                assert torch.allclose(got[4 * row + column], expected[0], atol=1e-5)


def test_an_interpolation_leaves_out_an_incomplete_row(file):
    sampler = Sampler.load(file(data={"classes": 0}))
    plain = sampler.latent(11, None, 5)
    z, labels = interpolate_rows(sampler, plain, None, 3)
    assert (z.shape, labels) == ((9, 4), None)
    assert torch.equal(z[::3], plain[:9:3])
    assert torch.equal(z[2::3], plain[2:9:3])
    with pytest.raises(InputError, match="--interpolate: rows of 2 have nothing between their ends; use a larger"):
        interpolate_rows(sampler, plain, None, 2)


@pytest.mark.parametrize("class_index", [None, 1])
def test_truncation_rows(file, class_index):
    sampler = Sampler.load(file())
    requested = {} if class_index is None else {"class": class_index}
    z, (_, columns, labels, names, _) = truncation_rows(sampler, 11, [0.5, 1.5, math.inf], 7, requested)
    assert columns == 3
    assert names == ("truncation 0.5", "truncation 1.5", "whole prior")
    assert labels.tolist() == ([0, 1, 0] if class_index is None else [1, 1, 1]) * 3
    free = sampler.latent(3, labels[:3], 7)
    assert torch.equal(z[6:], free)
    for row, threshold in enumerate([0.5, 1.5]):
        cut = z[3 * row : 3 * row + 3]
        assert torch.equal(cut, sampler.latent(3, labels[:3], 7, threshold))
        near = free.abs() <= threshold
        assert torch.equal(cut[near], free[near])
        assert cut.abs().max() <= threshold
    assert len(truncation_rows(sampler, 1, [0.5, 1.0], 7)[0]) == 2


def test_truncation_rows_without_classes(file):
    z, (_, columns, labels, *_) = truncation_rows(Sampler.load(file(data={"classes": 0})), 8, [1.0, 2.0], 0)
    assert (len(z), labels, columns) == (8, None, 4)
