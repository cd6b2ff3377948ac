"""Generated samples beside real ones: the data plugin `images` reads both, and rows of tables have their label."""

import csv
import json
import shutil

import pytest
import torch

from gankit import InputError, augment_dataset, load_dataset
from gankit.recipe.toml import merge
from tests.plugins.conftest import BY_CLASS, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(BY_CLASS, tmp_path_factory.mktemp("augment") / "run")


def read(folder, **settings):
    return load_dataset({"use": "images", "path": str(folder), "resolution": 8, **settings}, "test")


def test_the_plugin_images_reads_generated_images_beside_real_ones(run, tmp_path):
    augment_dataset(run, tmp_path / "more", 5)
    dataset = read(tmp_path / "more")
    assert dataset.class_names == ("circle", "ring")
    assert dataset.read().condition.tolist() == [0] * 5 + [1] * 5
    augment_dataset(run, tmp_path / "both", 2, seed=1)
    for path in (tmp_path / "both").rglob("*.png"):
        path.rename(path.with_name(f"real_{path.name}"))  # in place of photos
    shutil.copytree(tmp_path / "more", tmp_path / "both", dirs_exist_ok=True)
    both = read(tmp_path / "both")
    assert both.class_names == ("circle", "ring")
    assert both.read().condition.bincount().tolist() == [7, 7]


def test_the_classifier_learns_from_other_real_images(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    augment_dataset(run, tmp_path / "real", 40)
    settings = ["extractor.steps=30", "data.resolution=8"]
    real = tmp_path / "real"
    augment_dataset(run, tmp_path / "more", 3, "classifier", against=str(real), overrides=settings)
    found = json.loads((tmp_path / "more" / "provenance.json").read_text())
    assert found["filter"]["extractor"].startswith("classifier of classes")
    assert all(0.5 <= row["score"] <= 1 for row in found["samples"])
    with pytest.raises(InputError, match="samples are 3x8x8, and the real ones are 3x64x64"):
        augment_dataset(run, tmp_path / "x", 3, "classifier", against=str(real))


def table_run(folder, packed):
    recipe = {
        "train": {"iterations": 2, "batch_size": 20, "device": "cpu"},
        "data": {"use": "drawn_table", "count": 100},
        "latent": {"use": "normal", "size": 8},
        "generator": {"use": "ctgan", "hidden": [8]},
        "discriminator": {"use": "ctgan", "hidden": [8]},
        "loss": {"use": "wasserstein"},
        "normalization": {"generator": "batch_norm", "discriminator": "none"},
        "tricks": {"training_by_sampling": {}} | ({"packing": {"size": 10}} if packed else {}),
    }
    return train(merge({}, recipe), folder / "run")


def test_rows_of_a_table_have_the_requested_label(tmp_path):
    run = table_run(tmp_path, packed=False)
    for out, filter_ in (("plain", None), ("best", "discriminator")):
        result = augment_dataset(run, tmp_path / out, 4, filter_, label="job")
        assert sorted(path.name for path in (tmp_path / out).iterdir()) == ["provenance.json", "samples.csv"]
        with (tmp_path / out / "samples.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        jobs = [job for job in ("driver", "engineer", "nurse", "pilot") for _ in range(4)]
        assert [row["job"] for row in rows] == jobs
        found = json.loads((tmp_path / out / "provenance.json").read_text())
        assert [row["class"] for row in found["samples"]] == jobs
        assert {row["file"] for row in found["samples"]} == {"samples.csv"}
        assert min(result.drawn.values()) >= 4 * (2 if filter_ else 1)
    with pytest.raises(InputError, match="6 numbers, not a class; name an attribute as the label: job, member"):
        augment_dataset(run, tmp_path / "x", 4)
    with pytest.raises(InputError, match="the classifier predicts classes, and no attributes"):
        augment_dataset(run, tmp_path / "x", 4, "classifier", label="job")


def test_packed_rows_have_no_score(tmp_path):
    with pytest.raises(InputError, match="takes 10 images as one input"):
        augment_dataset(table_run(tmp_path, packed=True), tmp_path / "x", 4, "discriminator", label="job")


def test_pairs_of_an_image_and_z_are_scored(tmp_path):
    """The discriminator of a BiGAN gets z in place of the condition, so the class does not reach it."""
    spec = {"discriminator": {"use": "bigan", "units": 8, "encoder_units": 8}, "loss": {"use": "non_saturating"}}
    raw = {name: value for name, value in BY_CLASS.items() if name != "discriminator"}
    run = train(merge(raw, spec), tmp_path / "run")
    augment_dataset(run, tmp_path / "more", 2, "discriminator")
    scores = [row["score"] for row in json.loads((tmp_path / "more" / "provenance.json").read_text())["samples"]]
    assert len(set(scores)) == 4
    assert torch.tensor(scores).isfinite().all()
