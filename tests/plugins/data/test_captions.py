"""Captions of the user's images: `captions.csv`, text files beside the images, several captions, and mistakes."""

import shutil
from pathlib import Path

import pytest
import torch

from gankit import InputError, TokenCondition, prepare
from gankit_plugins.data.images import Images
from tests.plugins.data.image_files import plain

TEXTS = {"birds/a.png": ["A red bird."], "b.png": ["a blue bird", "A bird, on snow!"]}


def dataset(path, **settings):
    return Images(Images.Config(path=path, resolution=8, captions=True, **settings)).load_data()


@pytest.fixture
def photos(tmp_path):
    """Folder of two images; the second has two captions, in text files."""
    folder = tmp_path / "photos"
    (folder / "birds").mkdir(parents=True)
    for name, captions in TEXTS.items():
        plain("RGB", 9).save(folder / name)
        (folder / name).with_suffix(".txt").write_text("\n".join(captions) + "\n\n")
    return folder


def as_table(folder, rows=None):
    """Replace the text files by captions.csv."""
    for path in folder.rglob("*.txt"):
        path.unlink()
    lines = [f'{name},"{text}"' for name, texts in TEXTS.items() for text in texts]
    (folder / "captions.csv").write_text("\n".join(["file,caption", *(lines if rows is None else rows)]))
    return folder


def test_captions_of_text_files_a_table_and_a_zip_file_are_equal(photos, tmp_path):
    table = as_table(shutil.copytree(photos, tmp_path / "table"))
    for path in (photos, table, Path(shutil.make_archive(tmp_path / "photos", "zip", photos))):
        data = dataset(path)
        assert isinstance(data.condition, TokenCondition)
        assert data.condition.words == ("a", "bird", "blue", "on", "red", "snow")
        assert data.fields == ("captions",)
        images, tokens, fields = data.load()
        assert len(images) == 2
        assert [data.condition.text(row) for row in tokens] == ["a blue bird", "a red bird"]  # b.png, birds/a.png
        every = [[data.condition.text(row) for row in rows] for rows in fields["captions"]]
        assert every == [["a blue bird", "a bird on snow"], ["a red bird"] * 2]
        assert data.read().fields.keys() == {"captions"}
        assert data.contents == "2 images of 2 files"


def test_rare_words_are_left_out_and_long_captions_are_cut(photos):
    data = dataset(photos, min_word_count=2, max_words=1)
    assert data.condition == TokenCondition(("a", "bird"), 1)
    assert data.load()[2]["captions"].tolist() == [[[1], [1]], [[1], [1]]]
    with pytest.raises(InputError, match="no word that occurs 9 times"):
        dataset(photos, min_word_count=9)


def test_a_prepared_file_has_the_captions(photos, tmp_path):
    data = dataset(photos)
    prepare(data, tmp_path / "photos.safetensors", "photos")
    again = Images(Images.Config(path=tmp_path / "photos.safetensors", captions=True)).load_data()
    assert again.condition == data.condition
    assert torch.equal(again.load()[2]["captions"], data.load()[2]["captions"])
    prepare(
        Images(Images.Config(path=photos, resolution=8, classes=False)).load_data(),
        tmp_path / "plain.safetensors",
        "photos",
    )
    with pytest.raises(InputError, match=r"^captions: .*plain.safetensors was prepared without captions"):
        Images(Images.Config(path=tmp_path / "plain.safetensors", captions=True)).load_data()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, r"has no caption for .*; add it to captions.csv or to a file such as .*.txt, or remove data.captions"),
        (["x.png"], r"captions.csv, row 2: 'x.png' needs a value for each of file, caption"),
        (["x.png,a bird"], r"has no caption for "),
    ],
)
def test_missing_captions_are_named(photos, rows, message):
    if rows is None:
        for path in photos.rglob("*.txt"):
            path.unlink()
    else:
        as_table(photos, rows)
    with pytest.raises(InputError, match=message):
        dataset(photos)


def test_files_that_are_no_captions_are_refused(photos):
    (photos / "captions.csv").write_text("file,text\n")
    with pytest.raises(InputError, match="begins with file, text; its first row must be: file,caption"):
        dataset(photos)
    (photos / "captions.csv").unlink()
    next(photos.rglob("*.txt")).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"txt is not a text in UTF-8; correct it, or remove data.captions"):
        dataset(photos)
    with pytest.raises(ValueError, match="images have classes or captions"):
        Images.Config(path=photos, captions=True, classes=True)
