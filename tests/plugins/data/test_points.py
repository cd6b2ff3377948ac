"""The ring and the grid of Gaussians, and how samples are judged by them."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from pydantic import ValidationError

from gankit import InputError, Recipe
from gankit.cli import cli
from gankit.data.prepared import prepare
from gankit.plugin.dataset import Dataset
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit_plugins.data.gaussian_grid import GaussianGrid, lattice
from gankit_plugins.data.gaussian_ring import GaussianRing, ring
from gankit_plugins.data.points import draw_points, judge, scatter

PLUGINS = [GaussianRing, GaussianGrid]

NETWORKS = {
    "generator": {"use": "mlp", "hidden": [8]},
    "discriminator": {"use": "mlp", "hidden": [8]},
    "normalization": {"generator": {"use": "none"}},
}


def of(plugin, **config):
    return plugin(plugin.Config(**config))


@pytest.mark.parametrize("modes", [1, 2, 8, 100])
def test_the_rings_modes_lie_evenly_on_a_circle(modes):
    points = ring(modes, 0.8).tolist()
    assert len(points) == modes
    for k, point in enumerate(points):
        angle = 2 * math.pi * k / modes
        assert point == pytest.approx([0.8 * math.cos(angle), 0.8 * math.sin(angle)], abs=1e-6)


def test_the_grids_modes_are_equally_far_apart_and_lie_around_0():
    assert lattice(2, 0.5).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert lattice(1, 0.5).tolist() == [[0, 0]]
    points = {tuple(round(x, 6) for x in point) for point in lattice(5, 0.8).tolist()}
    assert points == {(0.4 * i, 0.4 * j) for i in (-2, -1, 0, 1, 2) for j in (-2, -1, 0, 1, 2)}


@pytest.mark.parametrize(
    ("plugin", "modes", "std", "literature"), [(GaussianRing, 8, 0.008, 1), (GaussianGrid, 25, 0.01, 2)]
)
def test_defaults_are_the_literatures_in_proportion(plugin, modes, std, literature):
    """Ring: radius 1, standard deviation 0.01. Grid: 2 apart, standard deviation 0.05."""
    data = of(plugin)
    assert data.config.std == std
    assert len(data.modes) == modes
    assert data.modes.abs().max() <= 0.8 + 1e-6
    apart = data.modes.norm(dim=1).max().item() if plugin is GaussianRing else torch.pdist(data.modes).min().item()
    assert std / apart == pytest.approx({1: 0.01 / 1, 2: 0.05 / 2}[literature], rel=1e-5)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_points_are_the_mixture(plugin):
    """Every mode has its share, its mean and its standard deviation in both directions, uncorrelated."""
    data = of(plugin, std=0.03, count=50_000)
    described = data.load_data()
    assert (described.channels, described.resolution, described.class_names) == (2, 1, ())
    points, labels = described.load()
    assert labels is None
    assert points.shape == (50_000, 2, 1, 1)
    assert points.dtype == torch.float32
    K = len(data.modes)
    by_mode = points.flatten(1).reshape(-1, K, 2).transpose(0, 1).double()
    n = 50_000 // K
    assert (by_mode.mean(1) - data.modes).abs().max() < 5 * 0.03 / n**0.5
    assert (by_mode.std(1) - 0.03).abs().max() < 5 * 0.03 / (2 * n) ** 0.5
    deviations = by_mode - by_mode.mean(1, keepdim=True)
    assert (deviations.prod(2).mean(1) / 0.03**2).abs().max() < 5 / n**0.5
    assert judge(points.flatten(1), data.modes, 0.03)["good"] == pytest.approx(1 - math.exp(-4.5), abs=3e-3)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_modes_have_equally_many_points_or_one_more(count):
    data = of(GaussianRing, count=count)
    points = data.load_data().load()[0].flatten(1)
    assert len(points) == count
    counts = torch.cdist(points, data.modes).argmin(1).bincount(minlength=8)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_seed_decides_all(plugin):
    before = torch.get_rng_state()
    one = of(plugin, count=50, seed=7).load_data().load()[0]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(one, of(plugin, count=50, seed=7).load_data().load()[0])
    assert not torch.equal(one, of(plugin, count=50, seed=8).load_data().load()[0])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), K=st.integers(1, 30), std=st.floats(0.01, 0.3))
def test_measures_are_those_of_a_plain_loop(seed, count, K, std):
    randomness = torch.Generator().manual_seed(seed)
    points, modes = (torch.rand(n, 2, generator=randomness, dtype=torch.float64) * 2 - 1 for n in (count, K))
    good, covered = 0, set()
    for point in points.tolist():
        distances = [math.dist(point, mode) for mode in modes.tolist()]
        if min(distances) <= 3 * std:
            good += 1
            covered.add(distances.index(min(distances)))
    assert judge(points, modes, std) == {"good": pytest.approx(good / count), "modes": len(covered)}


def test_three_standard_deviations_are_the_border():
    modes = torch.tensor([[0.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    points = torch.tensor([[0.0, 0.299], [0.0, 0.301], [0.5, -0.301]], dtype=torch.float64)
    assert judge(points, modes, 0.1) == {"good": pytest.approx(1 / 3), "modes": 1}
    assert judge(points + 1, modes, 0.1) == {"good": 0, "modes": 0}


def test_a_sample_counts_for_its_nearest_mode_alone():
    modes = torch.tensor([[0.0, 0.0], [0.1, 0.0]])
    assert judge(torch.tensor([[0.04, 0.0]]), modes, 0.1)["modes"] == 1


def test_distances_are_exact_far_from_0():
    """Where (a - b)^2 = a^2 - 2ab + b^2 loses digits."""
    modes = lattice(40, 1.0)
    assert judge(modes + torch.tensor([2.9e-4, 0.0]), modes, 1e-4) == {"good": 1, "modes": 1600}
    assert judge(modes + torch.tensor([3.1e-4, 0.0]), modes, 1e-4) == {"good": 0, "modes": 0}


def test_a_picture_shows_where_the_samples_are():
    modes = torch.tensor([[-0.5, 0.5], [0.5, -0.5]])
    empty, one = scatter(torch.empty(0, 2), modes, 0.05), scatter(torch.tensor([[0.5, 0.5]]), modes, 0.05)
    assert empty.size == (256, 256)
    left, top, right, bottom = changed_box(empty, one)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((192, 64), abs=1.5)
    assert max(right - left, bottom - top) < 12
    grey = empty.getpixel((64, 64))
    assert grey == empty.getpixel((192, 192)) != empty.getpixel((128, 128)) == (255, 255, 255)
    # Three standard deviations are 0.15, that is 19.2 pixels; the edge is smooth over a few.
    assert empty.getpixel((64 + 15, 64)) == grey
    assert empty.getpixel((64 + 23, 64)) == (255, 255, 255)


def changed_box(before, after):
    """Left, top, right and bottom of all that differs."""
    return ImageChops.difference(before, after).getbbox()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_samples_are_drawn_as_they_come_from_the_generator(plugin):
    data = of(plugin)
    assert data.draw_samples(draw_points(data.modes, 0.1, 64, 0)).size == (256, 256)


@pytest.mark.parametrize(
    ("plugin", "wrong"),
    [
        *[(plugin, wrong) for plugin in PLUGINS for wrong in ({"std": 0}, {"count": 0}, {"seed": -1}, {"kinds": 1})],
        *[(GaussianRing, wrong) for wrong in ({"modes": 0}, {"radius": 0}, {"radius": 1.1})],
        *[(GaussianGrid, wrong) for wrong in ({"side": 0}, {"side": 101}, {"reach": 0}, {"reach": 1.1})],
    ],
)
def test_bounds(plugin, wrong):
    with pytest.raises(ValidationError):
        plugin.Config(**wrong)


@pytest.mark.parametrize("use", ["gaussian_ring", "gaussian_grid"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_a_run(in_a_run, use, precision):
    run = in_a_run(NETWORKS | {"data": {"use": use, "count": 40}, "train": {"precision": precision}}, base="igan")
    (metrics,) = [row["metrics"] for row in map(json.loads, (run / "log.jsonl").open()) if "metrics" in row]
    assert set(metrics) == {"modes", "good"}
    assert 0 <= metrics["modes"] <= 25
    assert 0 <= metrics["good"] <= 1
    with Image.open(run / "samples" / "000004.png") as drawn:
        assert drawn.size == (256, 256)
    sample = ["sample", str(run), "--count", "9", "--out"]
    assert CliRunner().invoke(cli, [*sample, str(run / "new.png")]).exit_code == 0
    with Image.open(run / "new.png") as drawn:
        assert drawn.size == (256, 256)
    refused = CliRunner().invoke(cli, [*sample, str(run / "folder")]).exception
    assert "these samples are drawn together, as one picture" in str(refused)
    assert not (run / "folder").exists()


def test_points_are_no_pictures_to_prepare(tmp_path):
    points = Dataset(2, 1, (), lambda: (torch.zeros(4, 2, 1, 1), None))
    with pytest.raises(InputError, match="points gives no pictures but numbers of its own"):
        prepare(points, tmp_path / "x.safetensors", "points")
    assert not list(tmp_path.iterdir())


def test_convolutions_refuse_points_in_a_sentence(plain_recipe):
    raw = merge(plain_recipe("igan"), {"data": {"use": "gaussian_ring"}})
    with pytest.raises(InputError, match="images are 1 pixels wide"):
        assemble(Recipe.from_dict(raw))


@pytest.mark.parametrize(("judged", "said"), [(3.0, True), (4.0, False), (None, False)])
@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_run_that_ends_with_few_modes_says_so(plugin, judged, said):
    data, sentences = of(plugin), []
    data.modes = data.modes[:8]
    data.judged = {} if judged is None else {"modes": judged, "good": 0.5}
    data.on_stop(SimpleNamespace(advise=sentences.append))
    assert [s.startswith("modes is 3: the samples cover fewer than half of the 8 modes.") for s in sentences] == [
        True
    ] * said
