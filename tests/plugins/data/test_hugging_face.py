"""Datasets of Hugging Face's library, which the tests write to disk."""

import socket
import sys

import pytest
import torch
from pydantic import ValidationError

from gankit import InputError
from gankit.data.prepared import prepare, read_prepared
from gankit.testing import check_documentation, check_resume
from gankit_plugins.data.hugging_face import HuggingFace
from tests.plugins.data.image_files import assert_photos, encoded, plain

NAMES = ["cat", "dog", "owl"]


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    library = pytest.importorskip("datasets", reason="needs `pip install 'gankit[hugging_face]'`")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    library.disable_progress_bars()
    return library


def offline(*arguments, **settings):
    pytest.fail("a local dataset needs no network")


def photos(numbers):
    return [plain("RGB", (number, 0, 7)) for number in numbers]


@pytest.fixture
def table(datasets):
    """Function that returns a table with a photo for each number. Further columns are named."""

    def make(numbers, labels=None, feature=None, **more):
        columns, features = {"image": photos(numbers)}, {"image": datasets.Image()}
        if labels is not None:
            columns["label"], features["label"] = labels, feature or datasets.ClassLabel(names=NAMES)
        for name, (values, kind) in more.items():
            columns[name], features[name] = values, kind
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    return make


def saved(table, path):
    table.save_to_disk(path)
    return path


def dataset(path=None, **settings):
    return HuggingFace(HuggingFace.Config(path=path, resolution=8, **settings)).load_data()


def refusal(*arguments, **settings):
    with pytest.raises(InputError) as error:
        dataset(*arguments, **settings).read()
    return str(error.value)


def test_documentation():
    check_documentation(HuggingFace)


def test_a_saved_dataset_has_the_names_of_its_classes(table, tmp_path):
    path = saved(table([3, 1, 2], [1, 0, 1]), tmp_path / "x")
    data = dataset(path)
    assert data.class_names == tuple(NAMES)
    assert data.contents == "3 images of 3 files"
    assert_photos(data, [3, 1, 2], [1, 0, 1])
    assert_photos(dataset(path, classes=False), [3, 1, 2], None)


def test_splits(datasets, table, tmp_path):
    parts = {"test": table([5], [2]), "train": table([1, 2], [0, 1])}
    path = saved(datasets.DatasetDict(parts), tmp_path / "x")
    assert_photos(dataset(path), [1, 2], [0, 1])
    assert_photos(dataset(path, split="test"), [5], [2])
    assert "set data.split to one of test, train" in refusal(path, split="val")
    only = saved(datasets.DatasetDict({"test": parts["test"]}), tmp_path / "y")
    assert_photos(dataset(only), [5], [2])
    assert "split: " in refusal(saved(parts["test"], tmp_path / "z"), split="val")


def test_parquet_files_and_folders_of_images(table, tmp_path):
    (tmp_path / "parquet").mkdir()
    table([3, 1], [2, 0]).to_parquet(tmp_path / "parquet" / "train.parquet")
    data = dataset(tmp_path / "parquet")
    assert data.class_names == tuple(NAMES)
    assert_photos(data, [3, 1], [2, 0])
    for number, (name, image) in enumerate(zip(["dog", "cat"], photos([1, 2]), strict=True)):
        (tmp_path / "images" / "train" / name).mkdir(parents=True)
        image.save(tmp_path / "images" / "train" / name / f"{number}.png")
    data = dataset(tmp_path / "images")
    assert data.class_names == ("cat", "dog")
    assert_photos(data, [2, 1], [0, 1])


def test_columns(datasets, table, tmp_path):
    numbers, texts = datasets.Value("int64"), datasets.Value("string")
    more = {"age": ([7, 10], numbers), "kind": (["b", "a"], texts), "mask": (photos([8, 9]), datasets.Image())}
    path = saved(table([1, 2], **more), tmp_path / "x")
    assert refusal(path).endswith("has the columns image, mask; set data.image to one of them")
    assert_photos(dataset(path, image="mask"), [8, 9], None)
    data = dataset(path, image="image", label="age")
    assert data.class_names == ("7", "10")
    assert_photos(data, [1, 2], [0, 1])
    assert dataset(path, image="image", label="kind").read().condition.tolist() == [1, 0]
    assert "image: " in refusal(path, image="age")
    assert "it has image (Image), age (Value), kind (Value), mask (Image)" in refusal(path, image="photo")
    assert "label: " in refusal(path, image="image", label="colour")
    assert "label: " in refusal(path, image="image", classes=True)
    assert "'mask', which is not a class" in refusal(path, image="image", label="mask")
    bare = saved(table([1, 2], **more).select_columns(["age"]), tmp_path / "y")
    assert "image: " in refusal(bare)


def test_missing_labels_and_images(datasets, table, tmp_path, capsys):
    assert "row 1 has the value -1" in refusal(saved(table([1, 2], [0, -1]), tmp_path / "a"))
    assert "row 1 has the value None" in refusal(saved(table([1, 2], [0, None]), tmp_path / "b"))
    assert "path: " in refusal(saved(table([]), tmp_path / "c"))
    files = [{"bytes": encoded(plain("RGB", (1, 0, 7))), "path": None}, None, {"bytes": b"no image", "path": None}]
    damaged = datasets.Dataset.from_dict({"image": files}, features=datasets.Features({"image": datasets.Image()}))
    data = dataset(saved(damaged, tmp_path / "d"))
    assert_photos(data, [1], None)
    assert "row 1 (the row has no image), row 2 (not an image" in capsys.readouterr().err
    assert "bad_limit" in refusal(tmp_path / "d", bad_limit=0)


def test_places(datasets, tmp_path):
    assert refusal(tmp_path / "x") == (
        f"path: {tmp_path / 'x'} is not a folder; for a dataset on the hub, set data.hub"
    )
    (tmp_path / "empty").mkdir()
    assert "path: " in refusal(tmp_path / "empty")
    assert "name: " in refusal(saved(datasets.Dataset.from_dict({"a": [1]}), tmp_path / "saved"), name="small")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "code.py").write_text("raise SystemExit('executed')")
    assert "cannot be loaded" in refusal(tmp_path / "code")
    for settings, expected in (
        ({}, "give either path"),
        ({"path": "x", "hub": "a/b"}, "give either path"),
        ({"path": "x", "revision": "v1"}, "revision belongs to hub"),
        ({"hub": "https://x.org/a"}, "pattern"),
        ({"hub": "../a"}, "pattern"),
    ):
        with pytest.raises(ValidationError, match=expected):
            HuggingFace.Config(**settings)


def test_settings_of_the_hub(datasets, table, monkeypatch):
    asked = []

    def load(*arguments, **settings):
        asked.append((arguments, settings))
        if settings["revision"] == "none":
            raise datasets.exceptions.DatasetNotFoundError("there is\nno such dataset")
        return datasets.DatasetDict({"train": table([4], [1])})

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = dataset(hub="me/photos", name="small", revision="v1")
    assert_photos(data, [4], [1])
    assert asked == [(("hf://datasets/me/photos", "small"), {"revision": "v1"})]
    assert refusal(hub="me/photos", revision="none") == "hub: me/photos cannot be loaded: there is no such dataset"


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal(tmp_path) == (
        f"path: {tmp_path}: the library datasets is not installed; run `pip install 'gankit[hugging_face]'`"
    )


def test_prepared_file_has_the_same_data(table, tmp_path):
    path = saved(table([3, 1, 2], [1, 0, 1]), tmp_path / "x")
    prepare(dataset(path), tmp_path / "out.safetensors", "test")
    prepared = read_prepared(tmp_path / "out.safetensors")
    assert prepared.class_names == tuple(NAMES)
    assert torch.equal(prepared.read().images, dataset(path).read().images)
    assert torch.equal(prepared.read().condition, dataset(path).read().condition)


def test_resume_is_exact(table, tmp_path):
    path = saved(table(range(11), [number % 3 for number in range(11)]), tmp_path / "x")
    check_resume({}, {"data": {"use": "hugging_face", "path": str(path), "resolution": 8}})
