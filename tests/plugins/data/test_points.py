"""The ring and the grid of Gaussians, and their metrics."""

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

from gankit import InputError, Recipe, read_prepared
from gankit.cli import cli
from gankit.data.prepared import prepare
from gankit.plugin.dataset import Dataset
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit_plugins.data.gaussian_grid import GaussianGrid, grid
from gankit_plugins.data.gaussian_mixture import draw_points, mode_metrics, scatter_plot
from gankit_plugins.data.gaussian_ring import GaussianRing, ring
from tests.plugins.conftest import UNCONDITIONAL, train

PLUGINS = [GaussianRing, GaussianGrid]

NETWORKS = {
    "generator": {"use": "mlp", "hidden": [8]},
    "discriminator": {"use": "mlp", "hidden": [8]},
    "normalization": {"generator": {"use": "none"}},
}


def build(plugin, **config):
    return plugin(plugin.Config(**config))


@pytest.mark.parametrize("modes", [1, 8])
def test_modes_of_the_ring_are_at_equal_distances_on_a_circle(modes):
    angles = [2 * math.pi * k / modes for k in range(modes)]
    expected = torch.tensor([[0.8 * math.cos(angle), 0.8 * math.sin(angle)] for angle in angles])
    torch.testing.assert_close(ring(modes, 0.8), expected)


def test_modes_of_the_grid_are_at_equal_distances_around_0():
    assert grid(2, 0.5).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert grid(1, 0.5).tolist() == [[0, 0]]


def test_defaults_have_the_proportions_of_the_papers():
    """Ring: 8 modes, radius 1, standard deviation 0.01. Grid: 5 x 5 modes, distance 2, standard deviation 0.05."""
    ring, grid = build(GaussianRing), build(GaussianGrid)
    assert (len(ring.modes), len(grid.modes)) == (8, 25)
    assert ring.config.std / ring.config.radius == pytest.approx(0.01)
    assert grid.config.std / (2 * grid.config.reach / 4) == pytest.approx(0.05 / 2)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_points_have_the_moments_of_the_mixture(plugin):
    """Count, mean and standard deviation of every mode, and no correlation of the two directions."""
    data = build(plugin, std=0.03, count=50_000)
    dataset = data.load_data()
    assert (dataset.shape, dataset.class_names) == ((2, 1, 1), ())
    points, labels = dataset.load()
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
    assert mode_metrics(points.flatten(1), data.modes, 0.03)["good"] == pytest.approx(1 - math.exp(-4.5), abs=3e-3)


@pytest.mark.parametrize("count", [1, 7, 8, 100])
def test_counts_of_the_modes_differ_by_at_most_one(count):
    points = draw_points(ring(8, 0.8), 0.01, count, 0).flatten(1)
    counts = torch.cdist(points, ring(8, 0.8)).argmin(1).bincount(minlength=8)
    assert counts.sum() == count
    assert counts.max() - counts.min() <= 1


def test_points_depend_on_the_seed_only():
    before = torch.get_rng_state()
    one, two, other = (build(GaussianRing, count=50, seed=seed).load_data().load()[0] for seed in (7, 7, 8))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), K=st.integers(1, 30), std=st.floats(0.01, 0.3))
def test_metrics_equal_those_of_a_loop(seed, count, K, std):
    generator = torch.Generator().manual_seed(seed)
    points, modes = (torch.rand(n, 2, generator=generator, dtype=torch.float64) * 2 - 1 for n in (count, K))
    good, covered = 0, set()
    for point in points.tolist():
        distances = [math.dist(point, mode) for mode in modes.tolist()]
        if min(distances) <= 3 * std:
            good += 1
            covered.add(distances.index(min(distances)))
    assert mode_metrics(points, modes, std) == {"good": pytest.approx(good / count), "modes": len(covered)}


def test_good_samples_are_within_three_standard_deviations():
    modes = torch.tensor([[0.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    points = torch.tensor([[0.0, 0.299], [0.0, 0.301], [0.5, -0.301]], dtype=torch.float64)
    assert mode_metrics(points, modes, 0.1) == {"good": pytest.approx(1 / 3), "modes": 1}
    assert mode_metrics(points + 1, modes, 0.1) == {"good": 0, "modes": 0}


def test_distances_are_exact_far_from_0():
    """The computation by a^2 - 2ab + b^2 would lose digits here."""
    modes = grid(40, 1.0)
    assert mode_metrics(modes + torch.tensor([2.9e-4, 0.0]), modes, 1e-4) == {"good": 1, "modes": 1600}
    assert mode_metrics(modes + torch.tensor([3.1e-4, 0.0]), modes, 1e-4) == {"good": 0, "modes": 0}


def test_the_scatter_plot_shows_samples_and_modes():
    modes = torch.tensor([[-0.5, 0.5], [0.5, -0.5]])
    empty, one = scatter_plot(torch.empty(0, 2), modes, 0.05), scatter_plot(torch.tensor([[0.5, 0.5]]), modes, 0.05)
    assert empty.size == (256, 256)
    left, top, right, bottom = ImageChops.difference(empty, one).getbbox()
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((192, 64), abs=1.5)
    assert max(right - left, bottom - top) < 12
    grey = empty.getpixel((64, 64))
    assert grey == empty.getpixel((192, 192)) != empty.getpixel((128, 128)) == (255, 255, 255)
    # Three standard deviations are 0.15, which is 19.2 pixels.
    assert empty.getpixel((64 + 15, 64)) == grey
    assert empty.getpixel((64 + 23, 64)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("plugin", "wrong"),
    [
        *[(GaussianRing, wrong) for wrong in ({"std": 0}, {"count": 0}, {"seed": -1}, {"modes": 0}, {"radius": 1.1})],
        *[(GaussianGrid, wrong) for wrong in ({"side": 0}, {"side": 101}, {"reach": 0}, {"reach": 1.1})],
    ],
)
def test_settings_out_of_bounds_are_refused(plugin, wrong):
    with pytest.raises(ValidationError):
        plugin.Config(**wrong)


def test_a_run_logs_metrics_and_draws_scatter_plots(tmp_path):
    run = train(merge(UNCONDITIONAL, NETWORKS | {"data": {"use": "gaussian_grid", "count": 40}}), tmp_path / "run")
    (metrics,) = [row["metrics"] for row in map(json.loads, (run / "log.jsonl").open()) if "metrics" in row]
    assert set(metrics) == {"modes", "good"}
    sample = ["sample", str(run), "--count", "9", "--out"]
    assert CliRunner().invoke(cli, [*sample, str(run / "new.png")]).exit_code == 0
    for path in (run / "samples" / "000004.png", run / "new.png"):
        with Image.open(path) as plot:
            assert plot.size == (256, 256)
    refused = CliRunner().invoke(cli, [*sample, str(run / "folder")]).exception
    assert "a plugin draws all samples as one image" in str(refused)
    assert not (run / "folder").exists()


def test_points_can_be_prepared(tmp_path):
    values = torch.linspace(-1, 1, 8).view(4, 2, 1, 1)
    prepare(Dataset((2, 1, 1), None, lambda: (values, None)), tmp_path / "x.safetensors", "points")
    assert torch.equal(read_prepared(tmp_path / "x.safetensors").read()[0], values)


def test_convolutions_refuse_points(plain_recipe):
    raw = merge(plain_recipe("igan"), {"data": {"use": "gaussian_ring"}})
    with pytest.raises(InputError, match="images are 1 pixels high"):
        assemble(Recipe.from_dict(raw))


@pytest.mark.parametrize(("covered", "warns"), [(3, True), (4, False), (None, False)])
def test_a_run_that_ends_with_few_modes_warns(covered, warns):
    data, warnings = build(GaussianRing), []
    if covered is not None:
        images = data.modes[:covered, :, None, None]
        data.compute_metrics(SimpleNamespace(fake=SimpleNamespace(images=images)))
    data.on_stop(SimpleNamespace(warn=warnings.append))
    assert len(warnings) == warns
    assert all(w.startswith("modes is 3: the samples cover fewer than half of the 8 modes.") for w in warnings)
