"""Data for image-to-image translation: pairs from files, pairs by a rule, and two datasets without pairs."""

import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from gankit import ImageCondition, InputError, Recipe, load_dataset
from gankit.recipe.toml import read_toml
from gankit_plugins.data.rule_pairs import coarse, edges
from gankit_plugins.data.unpaired import shuffled


def plain(path, colour, size=(8, 8)):
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def dataset(use, **settings):
    return load_dataset({"use": use, **settings}, "recipe")


def as_in_a_recipe(folder, text):
    """Return the settings of `[data]` in a recipe file in `folder`."""
    (folder / "recipe.toml").write_text(text)
    rest = {"generator": "mlp", "discriminator": "mlp", "train": {"iterations": 1}}
    return Recipe.from_dict(read_toml(folder / "recipe.toml") | rest).components["data"].config


@pytest.fixture
def folders(tmp_path):
    """Folders `a` and `b` with two pairs, whose names sort differently with extensions, and side by side in `ab`."""
    for number, name in enumerate(("one", "one-b", "sub/two")):
        plain(tmp_path / f"a/{name}.png", (50 * number, 0, 0))
        plain(tmp_path / f"b/{name}.bmp", (0, 50 * number, 255))
        both = Image.new("RGB", (16, 8), (50 * number, 0, 0))
        both.paste((0, 50 * number, 255), (8, 0, 16, 8))
        (tmp_path / f"ab/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        both.save(tmp_path / f"ab/{name}.png")
    return tmp_path


def numbers(images, channel):
    return images[:, channel].float().mean((1, 2)).tolist()


@pytest.mark.parametrize("zipped", [False, True])
def test_two_folders_are_paired_by_name(folders, zipped):
    source = folders / "a"
    if zipped:
        source = folders / "a.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for file in sorted((folders / "a").rglob("*.png"), reverse=True):
                archive.write(file, file.relative_to(folders / "a"))
    data = dataset("image_pairs", source=str(source), target=str(folders / "b"), resolution=8, source_channels=1)
    assert (data.shape, data.condition, data.contents) == ((3, 8, 8), ImageCondition((1, 8, 8)), "3 pairs")
    images, sources, _ = data.read()
    assert numbers(images, 1) == [0, 50, 100]
    assert numbers(sources, 0) == [round(0.299 * value) for value in (0, 50, 100)]
    assert (images[:, 2] == 255).all()


@pytest.mark.parametrize(("side", "channel", "other"), [("left", 0, 1), ("right", 1, 0)])
def test_images_side_by_side(folders, side, channel, other):
    data = dataset("image_pairs", path=str(folders / "ab"), source_side=side, resolution=[8, 4])
    images, sources, _ = data.read()
    assert images.shape == sources.shape == (3, 3, 8, 4)
    assert numbers(sources, channel) == numbers(images, other) == [50, 0, 100]  # one-b.png is before one.png


def test_each_half_is_cropped_on_its_own(tmp_path):
    """A wide file has two wide halves. The crop to a square takes the centre of each half."""
    both = Image.new("L", (48, 8))
    both.paste(200, (8, 0, 16, 8))
    both.paste(100, (32, 0, 40, 8))
    (tmp_path / "ab").mkdir()
    both.save(tmp_path / "ab/x.png")
    images, sources, _ = dataset("image_pairs", path=str(tmp_path / "ab"), resolution=8).read()
    assert (sources == 200).all()
    assert (images == 100).all()


def test_wrong_pairs_are_refused(folders):
    plain(folders / "a/alone.png", "red")
    both = {"source": str(folders / "a"), "target": str(folders / "b")}
    with pytest.raises(InputError, match=r"a: alone.png without an image of the same name in .*b; add the partner"):
        dataset("image_pairs", **both)
    plain(folders / "b/alone.png", "red")
    plain(folders / "b/alone.gif", "red")
    with pytest.raises(InputError, match=r"alone.gif and alone.png differ only in the extension; rename one"):
        dataset("image_pairs", **both)
    (folders / "b/alone.gif").unlink()
    (folders / "b/alone.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"alone.png .* cannot be used; get this file again"):
        dataset("image_pairs", **both).read()
    (folders / "ab/one.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"one.png .* cannot be used"):
        dataset("image_pairs", path=str(folders / "ab")).read()
    for wrong in ({}, {"source": "x"}, {"path": "x", "source": "y", "target": "z"}):
        with pytest.raises(InputError, match="set both source and target, or only path for images side by side"):
            dataset("image_pairs", **wrong)


SHAPES = {"use": "shapes", "resolution": 12, "count": 30}


@pytest.mark.parametrize(("rule", "shape"), [("edges", (1, 12, 12)), ("grey", (1, 12, 12)), ("coarse", (3, 12, 12))])
def test_pairs_by_a_rule(rule, shape):
    data = dataset("rule_pairs", rule=rule, images=SHAPES)
    images, sources, _ = data.read()
    assert data.condition == ImageCondition(shape)
    assert torch.equal(images, dataset(**SHAPES).read().images)
    chunks = list(data.read_chunks())
    assert torch.equal(torch.cat([chunk.condition for chunk in chunks]), sources)
    if rule == "grey":
        expected = (images[7].float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0).round()
        assert torch.equal(sources[7, 0].float(), expected)


def test_edges_are_where_the_brightness_jumps():
    images = torch.zeros(2, 3, 6, 8, dtype=torch.uint8)
    images[0, :, :, 4:] = 255  # a step of 1 from column 3 to column 4
    images[1, :, 3:] = 51  # a step of 0.2 from row 2 to row 3
    found = edges(images, 0.5)
    assert set(found.unique().tolist()) == {0, 255}
    assert found[0, 0].any(0).tolist() == [column in (3, 4) for column in range(8)]
    assert not found[1].any()
    assert edges(images, 0.19)[1, 0].any(1).tolist() == [row in (2, 3) for row in range(6)]
    assert not edges(images, 0.21)[1].any()


def test_coarse_images_have_the_mean_of_each_block():
    images = torch.randint(256, (2, 3, 6, 8), dtype=torch.uint8)
    blocks = coarse(images, 2)
    for row in range(6):
        for column in range(8):
            block = images[:, :, row // 2 * 2 :, column // 2 * 2 :][:, :, :2, :2].float()
            assert torch.equal(blocks[:, :, row, column].float(), block.mean((2, 3)).round())
    assert coarse(images, 5).shape == images.shape


def test_wrong_rules_are_refused():
    with pytest.raises(InputError, match=r"rule: grey needs colour images, and the samples are \(1, 12, 12\)"):
        dataset("rule_pairs", rule="grey", images=SHAPES | {"channels": 1})
    with pytest.raises(InputError, match=r"images: .* given; resolution: 'x' given; input should be a valid integer"):
        dataset("rule_pairs", rule="grey", images=SHAPES | {"resolution": "x"})
    with pytest.raises(InputError, match=r"data.images: .* use: no data called 'shape' is .*mean 'shapes'"):
        dataset("rule_pairs", rule="grey", images={"use": "shape"})


def test_each_index_occurs_equally_often():
    order = shuffled(5, 12, torch.Generator().manual_seed(0))
    assert len(order) == 12
    assert set(order.bincount(minlength=5).tolist()) == {2, 3}
    assert order[:5].tolist() != list(range(5))


def test_two_datasets_without_pairs():
    tables = {
        "source": {"use": "shapes", "resolution": 8, "count": 10, "kinds": ["circle"]},
        "target": {"use": "shapes", "resolution": 8, "count": 4, "kinds": ["ring"]},
    }
    data = dataset("unpaired", **tables)
    images, sources, _ = data.read()
    assert data.condition == ImageCondition((3, 8, 8))
    assert len(images) == len(sources) == 10
    for rows, table in ((images, tables["target"]), (sources, tables["source"])):
        originals = dataset(**table).read().images
        assert {row.numpy().tobytes() for row in rows} == {row.numpy().tobytes() for row in originals}
    assert torch.equal(sources, dataset("unpaired", **tables).read().condition)
    assert not torch.equal(sources, dataset("unpaired", **tables, seed=1).read().condition)
    with pytest.raises(InputError, match=r"source are \(3, 8, 8\), and those of target \(1, 8, 8\)"):
        dataset("unpaired", source=tables["source"], target=tables["target"] | {"channels": 1})


def test_paths_of_other_datasets_are_relative_to_the_recipe(folders, monkeypatch):
    """A table without `use` has the images of a folder. The recorded recipe has absolute paths."""
    text = '[data]\nuse = "unpaired"\nsource.path = "a"\ntarget = { use = "images", path = "b", resolution = 8 }\n'
    monkeypatch.chdir(Path(__file__).parent)
    config = as_in_a_recipe(folders, text)
    assert (config.source["use"], config.source["path"]) == ("images", str(folders / "a"))
    assert (config.target["path"], config.target["resolution"]) == (str(folders / "b"), 8)
    with pytest.raises(InputError, match=r"data.source: .* given; path: missing"):
        as_in_a_recipe(folders, text.replace('source.path = "a"', "source.resolution = 8"))
