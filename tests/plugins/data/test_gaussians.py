import json
import math

import pytest
import torch
from PIL import Image

from gankit import Game, InputError, Recipe
from gankit.dataset import Dataset
from gankit.prepared import prepare
from gankit.recipe import merge
from gankit_plugins.data.gaussian_grid import GaussianGrid, lattice
from gankit_plugins.data.gaussian_ring import GaussianRing, ring
from gankit_plugins.data.points import judge, scatter


def test_the_ring_and_the_grid():
    expected = [(0.8 * math.cos(k * math.pi / 4), 0.8 * math.sin(k * math.pi / 4)) for k in range(8)]
    torch.testing.assert_close(ring(8, 0.8), torch.tensor(expected))
    assert lattice(3, 0.5).tolist() == [[a, b] for a in (-0.5, 0, 0.5) for b in (-0.5, 0, 0.5)]
    assert lattice(1, 0.5).tolist() == [[0, 0]]


@pytest.mark.parametrize(("plugin", "modes"), [(GaussianRing, 8), (GaussianGrid, 25)])
def test_points_have_the_mean_and_spread_of_their_mode(plugin, modes):
    trick = plugin(plugin.Config(count=modes * 4000, std=0.05))
    points, labels = trick.load_data().load()
    assert labels is None
    assert (points.shape, points.dtype) == ((modes * 4000, 2, 1, 1), torch.float32)
    by_mode = points.reshape(4000, modes, 2)
    torch.testing.assert_close(by_mode.mean(0), trick.modes, atol=0.004, rtol=0)
    torch.testing.assert_close(by_mode.std(0), torch.full((modes, 2), 0.05), atol=0.003, rtol=0)


def test_the_seed_decides():
    def points(seed):
        return GaussianRing(GaussianRing.Config(count=10, seed=seed)).draw_all()[0]

    assert torch.equal(points(0), points(0))
    assert not torch.equal(points(0), points(1))


def test_modes_and_good_samples_by_hand():
    modes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = torch.tensor([[0.0, 0.05], [0.02, 0.0], [1.0, 0.3], [0.1, 1.0], [0.0, 0.99]])
    assert judge(points, modes, 0.1) == {"modes": 3.0, "good": 1.0}
    assert judge(points, modes, 0.05) == {"modes": 2.0, "good": 0.8}
    assert judge(points, modes, 0.001) == {"modes": 0.0, "good": 0.0}


def test_the_data_itself_covers_everything():
    trick = GaussianGrid(GaussianGrid.Config(count=2500))
    measures = judge(trick.draw_all()[0].flatten(1), trick.modes, trick.config.std)
    assert measures["modes"] == 25
    assert measures["good"] == pytest.approx(1 - math.exp(-4.5), abs=0.01)


def test_a_picture_shows_points_where_they_are():
    drawn = scatter(torch.tensor([[0.5, 0.5]]), torch.tensor([[-0.5, -0.5]]), 0.05)
    dark = [drawn.getpixel((round((x + 1) / 2 * 256), round((1 - y) / 2 * 256))) for x, y in ((0.5, 0.5), (-0.5, -0.5))]
    assert dark[0][2] > dark[0][0] + 50
    assert max(dark[1]) - min(dark[1]) < 5
    assert drawn.getpixel((5, 5)) == (255, 255, 255)


MLP = {"use": "mlp", "hidden": [6]}


@pytest.mark.parametrize("use", ["gaussian_ring", "gaussian_grid"])
def test_in_a_run(in_a_run, use):
    data = {"data": {"use": use, "count": 50, "resolution": None}, "generator": MLP, "discriminator": MLP}
    data["data"].pop("resolution")
    run = in_a_run(data, base="igan")
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (measures,) = [row["measures"] for row in rows if "measures" in row]
    assert set(measures) == {"modes", "good"}
    with Image.open(run / "samples" / "000004.png") as drawn:
        assert drawn.size == (256, 256)


def test_points_are_no_pictures_to_prepare(tmp_path):
    points = Dataset(2, 1, (), lambda: (torch.zeros(4, 2, 1, 1), None))
    with pytest.raises(InputError, match="points gives no pictures but numbers of its own"):
        prepare(points, tmp_path / "x.safetensors", "points")
    assert not list(tmp_path.iterdir())


def test_convolutions_refuse_points_in_a_sentence(plain_recipe):
    raw = merge(plain_recipe("igan"), {"data": {"use": "gaussian_ring"}})
    with pytest.raises(InputError, match="images are 1 pixels wide"):
        Game(Recipe.from_dict(raw))
