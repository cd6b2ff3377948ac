"""CelebA, with a few images in the same layout."""

import shlex
import shutil
import zipfile

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gankit import InputError, VectorCondition
from gankit.data.prepared import prepare, read_prepared
from gankit.testing import check_dataset, check_documentation
from gankit_plugins.data import images, standard_datasets
from gankit_plugins.data.celeba import CelebA

NAMES = ("5_o_Clock_Shadow", "Bald", "Smiling")
VALUES = {1: (-1, -1, 1), 2: (1, -1, -1), 3: (-1, 1, 1), 4: (-1, -1, -1), 5: (1, 1, 1), 6: (-1, 1, -1), 7: (1, -1, 1)}
PARTS = {1: 0, 2: 1, 3: 0, 4: 2, 5: 0, 6: 2, 7: 0}
"""Attributes and the number of the split of each image."""


def file_name(number):
    return f"{number:06d}.jpg"


def colour_of(number):
    return (30 * number, 200 - 20 * number, 10 * number)


@pytest.fixture(autouse=True)
def no_data(tmp_path, monkeypatch):
    """Hide the datasets of this machine."""
    monkeypatch.delenv("GANKIT_DATA", raising=False)
    monkeypatch.setattr(standard_datasets, "CACHE", tmp_path / "cache")


@pytest.fixture
def top(tmp_path):
    """Return a folder with the files of CelebA. Images of one colour have a black border of 25 pixels."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number in VALUES:
        image = Image.new("RGB", (178, 218))
        image.paste(colour_of(number), (25, 25, 178 - 25, 218 - 25))
        image.save(folder / "img_align_celeba" / file_name(number), quality=95)
    rows = [f"{file_name(number)} {' '.join(f'{value:2d}' for value in row)}" for number, row in VALUES.items()]
    write(folder / "list_attr_celeba.txt", [str(len(rows)), " ".join(NAMES) + " ", *rows])
    write(folder / "list_eval_partition.txt", [f"{file_name(number)} {part}" for number, part in PARTS.items()])
    return folder


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def dataset(path=None, **settings):
    return CelebA(CelebA.Config(path=path, **settings)).load_data()


def zip_images(top, inside="img_align_celeba/"):
    folder = top / "img_align_celeba"
    with zipfile.ZipFile(top / "img_align_celeba.zip", "w") as archive:
        for file in sorted(folder.glob("*.jpg"), reverse=True):
            archive.write(file, inside + file.name)
    shutil.rmtree(folder)
    return top


def official(top):
    """Move the files to the subfolders of the official download."""
    for name, subfolder in (
        ("img_align_celeba.zip", "Img"),
        ("list_attr_celeba.txt", "Anno"),
        ("list_eval_partition.txt", "Eval"),
    ):
        (top / subfolder).mkdir()
        (top / name).rename(top / subfolder / name)
    return top


@pytest.mark.parametrize("layout", [lambda top: top, zip_images, lambda top: official(zip_images(top))])
@pytest.mark.parametrize(("split", "numbers"), [("train", [1, 3, 5, 7]), ("validation", [2]), ("test", [4, 6])])
def test_splits_with_attributes(top, layout, split, numbers):
    data = dataset(layout(top), split=split, resolution=8, crop=108)
    assert (data.shape, data.at_most) == ((3, 8, 8), len(numbers))
    assert data.condition == VectorCondition(NAMES, ((0, 1),) * 3)
    pixels, condition, _ = data.read()
    assert condition.tolist() == [list(VALUES[number]) for number in numbers]
    for image, number in zip(pixels, numbers, strict=True):  # the crop contains no pixel of the border
        torch.testing.assert_close(
            image.float(), torch.tensor(colour_of(number)).view(3, 1, 1).expand(3, 8, 8).float(), atol=4, rtol=0
        )
    check_dataset(data)


def test_all_images(top, monkeypatch):
    monkeypatch.setenv("GANKIT_DATA", str(top.parent))
    (top / "list_eval_partition.txt").unlink()
    data = dataset(split="all", resolution=8)
    assert data.read().condition.tolist() == [list(row) for row in VALUES.values()]
    (top / "list_attr_celeba.txt").unlink()
    without = dataset(split="all", attributes=[], resolution=8)
    assert without.condition is None
    assert torch.equal(without.read().images, data.read().images)
    check_dataset(without)


def test_selected_attributes_are_in_their_order(top):
    data = dataset(top, attributes=["Smiling", "Bald"], resolution=8)
    assert data.condition.names == ("Smiling", "Bald")
    assert data.read().condition.tolist() == [[1, -1], [1, 1], [1, 1], [1, -1]]
    assert dataset(top, attributes=[]).condition is None


def test_one_is_present_and_zero_is_absent(top):
    data = dataset(top, resolution=8)
    rows = data.condition.rows(2, {"Smiling": 1, "Bald": 0}, data.read().condition)
    assert rows[:, 1:].tolist() == [[-1, 1], [-1, 1]]


def test_the_crop_by_hand(top):
    """The default is the full width. 178 to 89 pixels is a factor of two, and the border has 25 columns and 5 rows."""
    whole = dataset(top, resolution=89).read().images[0, 0].float()
    assert whole[44, 20:69].min() > 20  # red is 30
    assert whole[44, :11].max() < 10
    assert whole[:2, 44].max() < 10
    assert whole[4, 44] > 20
    exact = dataset(top, crop=128, resolution=128).read().images[0, 0].float()  # 178 - 2 * 25
    assert exact.min() > 10
    assert dataset(top, crop=132, resolution=132).read().images[0, 0, :, 0].max() < 10


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_stream_equals_load_for_any_chunk_size(top, monkeypatch, chunk):
    monkeypatch.setattr(images, "CHUNK_BYTES", chunk * 3 * 8 * 8)
    check_dataset(dataset(top, resolution=8))


def test_prepared_files_have_the_attributes(top, tmp_path):
    data = dataset(top, resolution=8, crop=108)
    assert prepare(data, tmp_path / "x.safetensors", "test") == 4
    prepared = read_prepared(tmp_path / "x.safetensors")
    assert prepared.condition == data.condition
    assert all(torch.equal(one, two) for one, two in zip(prepared.read()[:2], data.read()[:2], strict=True))
    assert "centre square of 108 pixels" in prepared.note


def test_a_slow_load_recommends_to_prepare(top, monkeypatch, capsys):
    monkeypatch.setattr(images, "SLOW", -1.0)
    dataset(top, resolution=8, attributes=["Bald"], split="all").load()
    settings = [f"path={top}", "split=all", 'attributes=["Bald"]', "resolution=8"]
    command = shlex.join(["gankit", "prepare", "celeba", "--out", "FILE", *settings])
    assert f"`{command}` saves this time, with data.use=images and data.path=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("list_attr_celeba.txt", "has no list_attr_celeba.txt; the files are at https://mmlab"),
        ("list_eval_partition.txt", "has no list_eval_partition.txt; the files are at"),
        ("img_align_celeba", "has no img_align_celeba or img_align_celeba.zip; the files are at"),
    ],
)
def test_missing_files_are_named(top, missing, message):
    (top / missing).rename(top / "other")
    with pytest.raises(InputError, match=f"^path: {top} {message}"):
        dataset(top)


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"^path: .*/cache/celeba does not exist; set data\.path, or .* the files are"):
        dataset()


@pytest.mark.parametrize("layout", [lambda top: top, zip_images])
def test_missing_images_are_named(top, layout):
    (top / "img_align_celeba" / "000003.jpg").unlink()
    with pytest.raises(InputError, match=r"path: .*img_align_celeba(\.zip)? has no 000003\.jpg; get it again"):
        dataset(layout(top))
    dataset(top, split="test")


def test_unknown_attributes_are_named_with_the_nearest(top):
    with pytest.raises(InputError) as error:
        dataset(top, attributes=["Smilling"])
    assert str(error.value) == (
        f"attributes: 'Smilling' is not in {top}/list_attr_celeba.txt; did you mean 'Smiling'? there are "
        "5_o_Clock_Shadow, Bald, Smiling"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7\n5_o", "5_o", "must begin with a line with the number of images and a line with the names"),
        ("000002.jpg  1 -1 -1", "000002.jpg  1 -1", r"line 4: 000002\.jpg must have 3 values, .* but has 2: 1, -1$"),
        (
            "000002.jpg  1 -1",
            "000002.jpg  1 0",
            r"line 4: 000002\.jpg must have 3 values, each 1 or -1, but has 3: 1, 0",
        ),
        ("7\n5_o", "8\n5_o", "the first line announces 8 images, but 7 have a line; get it again"),
        ("000007", "000006", "the first line announces 7 images, but 6 have a line; get it again"),
        ("000007", "000008", r"has no line for 000007\.jpg; get it again"),
    ],
)
def test_wrong_files_of_attributes_are_refused(top, old, new, message):
    edit(top / "list_attr_celeba.txt", old, new)
    with pytest.raises(InputError, match=rf"path: .*list_attr_celeba\.txt\W.*{message}"):
        dataset(top)


@pytest.mark.parametrize("content", [b"", b"7\n", b"\xff\xfe\n"])
def test_files_without_attributes_are_refused(top, content):
    (top / "list_attr_celeba.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"path: .*list_attr_celeba\.txt (must begin with|cannot be read)"):
        dataset(top)


def test_wrong_partitions_are_refused(top):
    file = top / "list_eval_partition.txt"
    edit(file, "000002.jpg 1", "000002.jpg 3")
    with pytest.raises(InputError, match=r"path: .*partition\.txt, line 2: '000002.jpg 3' must be an image and its"):
        dataset(top)
    edit(file, "000002.jpg 3", "000002.jpg")
    with pytest.raises(
        InputError, match=r"line 2: '000002.jpg' must be an image and its split, such as '000001.jpg 0'"
    ):
        dataset(top)
    edit(file, "000002.jpg", "000002.jpg 0")
    with pytest.raises(InputError, match=r"split: .*partition\.txt has no images with the number 1"):
        dataset(top, split="validation")


def test_damaged_and_small_images_are_named(top):
    (top / "img_align_celeba" / "000005.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"path: .*: 000005\.jpg \(not an image.*\) cannot be used; get this file"):
        dataset(top).load()
    Image.new("RGB", (100, 200)).save(top / "img_align_celeba" / "000005.jpg")
    with pytest.raises(InputError, match=r"000005\.jpg \(the image has 100 x 200 pixels; the crop needs 178 x 178\)"):
        dataset(top).load()


@pytest.mark.parametrize(
    "settings", [{"split": "val"}, {"crop": 179}, {"crop": 3}, {"resolution": 3}, {"attributes": ["Bald", "Bald"]}]
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        CelebA.Config(**settings)


def test_documentation():
    check_documentation(CelebA)
