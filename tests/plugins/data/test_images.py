"""Folders, trees, zip files and prepared files of images, end to end."""

import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gankit import Dataset, InputError
from gankit.data.prepared import prepare
from gankit_plugins.data import images as module
from gankit_plugins.data.images import Images

MODES = ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"]


def picture(number):
    """No two alike, of every mode and many sizes."""
    mode = MODES[number % len(MODES)]
    width, height = 6 + number % 9, 6 + number % 7
    image = Image.new("RGB", (width, height), (number % 256, number * 7 % 256, number // 256 * 40))
    image.putpixel((3, 3), (255, 255, 255))
    return image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)


def many(top, count, classes=0):
    for number in range(count):
        folder = top / f"class{number % classes}" if classes else top
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number:04d}.png", compress_level=1)
    return top


def zipped(top):
    path = top.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(top.parent))
    return path


def dataset(path, **settings):
    return Images(Images.Config(path=path, **settings)).load_data()


def same(one, two):
    (images, labels), (others, marks) = one, two
    assert images.dtype == others.dtype == torch.uint8
    assert torch.equal(images, others)
    assert (labels is None and marks is None) or torch.equal(labels, marks)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    return many(tmp_path_factory.mktemp("images") / "thousand", 1000, classes=4)


@pytest.fixture(scope="module")
def loaded(thousand):
    return dataset(thousand, resolution=8).load()


def test_a_thousand_images_of_four_classes(thousand, loaded):
    data = dataset(thousand, resolution=8)
    assert isinstance(data, Dataset)
    assert (data.channels, data.resolution) == (3, 8)
    assert data.class_names == ("class0", "class1", "class2", "class3")
    assert data.at_most == 1000
    images, labels = loaded
    assert images.shape == (1000, 3, 8, 8)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [k for k in range(4) for _ in range(250)]


def test_loading_again_gives_the_same(thousand, loaded):
    same(dataset(thousand, resolution=8).load(), loaded)


def test_a_zip_file_gives_what_the_folder_gives(thousand, loaded):
    data = dataset(zipped(thousand), resolution=8)
    assert data.class_names == ("class0", "class1", "class2", "class3")
    same(data.load(), loaded)


@pytest.mark.parametrize("chunk", [1, 7, 25, 1000])
def test_the_stream_gives_what_load_gives_whatever_the_chunk(tmp_path, monkeypatch, chunk):
    many(tmp_path / "x", 50, classes=2)
    data = dataset(tmp_path / "x", resolution=8)
    whole = data.load()
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk * 3 * 8 * 8)
    pieces, marks = zip(*data.stream(), strict=True)
    assert [len(piece) for piece in pieces[:-1]] == [chunk] * (len(pieces) - 1)
    same((torch.cat(pieces), torch.cat(marks)), whole)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_prepared_images_are_byte_for_byte_those_loaded_directly(tmp_path, channels, classes):
    top = many(tmp_path / "x", 60, classes)
    direct = dataset(top, resolution=11, channels=channels)
    out = tmp_path / "x.safetensors"
    assert prepare(direct, out, "test") == 60
    prepared = dataset(out)
    assert (prepared.channels, prepared.resolution, prepared.class_names) == (channels, 11, direct.class_names)
    same(prepared.load(), direct.load())
    assert prepared.note == direct.note != ""


def test_settings_must_agree_with_a_prepared_file(tmp_path):
    out = tmp_path / "x.safetensors"
    prepare(dataset(many(tmp_path / "x", 6, classes=2), resolution=16, channels=1), out, "test")
    assert dataset(out, resolution=16, channels=1, classes=True).class_names == ("class0", "class1")
    with pytest.raises(
        InputError, match=r"resolution: .*x\.safetensors was prepared with resolution=16, and 64 is asked"
    ):
        dataset(out, resolution=64)
    with pytest.raises(
        InputError, match=r"channels: .* was prepared with channels=1, and 3 is asked for; say data.channels=1"
    ):
        dataset(out, channels=3)
    without = dataset(out, classes=False)
    assert without.class_names == ()
    same(without.load(), (dataset(out).load()[0], None))
    prepare(without, tmp_path / "y.safetensors", "test")
    with pytest.raises(InputError, match=r"classes: .* was prepared without classes"):
        dataset(tmp_path / "y.safetensors", classes=True)
    with pytest.raises(InputError, match=r"there is no file .*nowhere\.safetensors"):
        dataset(tmp_path / "nowhere.safetensors")


def test_without_classes(tmp_path):
    flat = dataset(many(tmp_path / "flat", 4))
    assert (flat.class_names, flat.resolution, flat.channels) == ((), 64, 3)
    assert flat.load()[1] is None
    assert flat.load()[0].shape == (4, 3, 64, 64)
    tree = many(tmp_path / "tree", 4, classes=2)
    assert dataset(tree, classes=False).load()[1] is None
    with pytest.raises(InputError, match="one folder for each class"):
        dataset(tmp_path / "flat", classes=True)


def test_a_class_of_one_image(tmp_path):
    many(tmp_path / "x", 3, classes=3)
    assert dataset(tmp_path / "x").load()[1].tolist() == [0, 1, 2]


def damage(folder, *numbers):
    files = sorted(path for path in folder.rglob("*.png"))
    for number in numbers:
        files[number].write_bytes(b"no image")
    return folder


def test_bad_files_are_named_counted_and_skipped(tmp_path, capsys):
    top = many(tmp_path / "x", 20, classes=2)
    whole, marks = dataset(top, resolution=8).load()
    assert capsys.readouterr() == ("", "")
    damage(top, 0, 7, 19)
    images, labels = dataset(top, resolution=8).load()
    kept = [n for n in range(20) if n not in (0, 7, 19)]
    same((images, labels), (whole[kept], marks[kept]))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"skipped 3 of the 20 images in {top}: class0/0000.png (not an image, or of a kind that cannot be read), "
        "class0/0014.png (not an image, or of a kind that cannot be read), "
        "class1/0019.png (not an image, or of a kind that cannot be read)\n"
    )


@pytest.mark.parametrize(
    ("count", "bad", "limit", "refused"),
    [
        (20, 3, 0.01, False),
        (20, 4, 0.01, True),
        (20, 4, 0.2, False),
        (20, 5, 0.2, True),
        (20, 1, 0, True),
        (20, 19, 1, False),
    ],
)
def test_bad_files_are_forgiven_up_to_the_limit(tmp_path, count, bad, limit, refused):
    top = damage(many(tmp_path / "x", count), *range(bad))
    data = dataset(top, bad_limit=limit, resolution=8)
    if refused:
        with pytest.raises(
            InputError, match=rf"path: more than {bad - 1} of the {count} .*0000\.png.*data.bad_limit, {limit} now"
        ):
            data.load()
    else:
        assert len(data.load()[0]) == count - bad


def test_five_bad_files_are_named_and_the_rest_counted(tmp_path, capsys):
    dataset(damage(many(tmp_path / "x", 20), *range(12)), bad_limit=1, resolution=8).load()
    err = capsys.readouterr().err
    assert "0004.png" in err
    assert "0005.png" not in err
    assert err.endswith(" and 7 more\n")


def test_nothing_but_bad_files_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not one image in .* can be used: 0000"):
        dataset(damage(many(tmp_path / "x", 2), 0, 1)).load()


def test_a_class_of_bad_files_is_refused_by_name(tmp_path):
    top = damage(many(tmp_path / "x", 12, classes=6), 4, 5)
    with pytest.raises(InputError, match="not one image of class class2 in"):
        dataset(top).load()


def test_bad_files_leave_no_trace_in_a_prepared_file(tmp_path):
    top = damage(many(tmp_path / "x", 30, classes=2), 3, 20)
    direct = dataset(top, resolution=9)
    assert prepare(direct, tmp_path / "x.safetensors", "test") == 28
    same(dataset(tmp_path / "x.safetensors").load(), direct.load())


def test_too_many_bad_files_leave_no_prepared_file(tmp_path):
    top = damage(many(tmp_path / "x", 30), *range(4))
    with pytest.raises(InputError, match="more than 3 of the 30"):
        prepare(dataset(top), tmp_path / "x.safetensors", "test")
    assert os.listdir(tmp_path) == ["x"]


def test_checking_decodes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "decode_all", None)
    assert dataset(many(tmp_path / "x", 3)).at_most == 3


def test_an_encrypted_or_damaged_zip_entry_is_a_bad_file(tmp_path):
    top = many(tmp_path / "x", 10)
    path = zipped(top)
    data = bytearray(path.read_bytes())
    at = data.index(b"0003.png") + len("0003.png") + 20
    data[at] ^= 255
    path.write_bytes(data)
    assert len(dataset(path).load()[0]) == 9


def test_slow_reading_recommends_to_prepare(tmp_path, monkeypatch, capsys):
    top = many(tmp_path / "my images", 2)
    dataset(top).load()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "LONG", -1.0)
    dataset(top, resolution=32, channels=1).load()
    command = f"gankit prepare images --out FILE 'path={top}' resolution=32 channels=1"
    assert command in capsys.readouterr().err


def test_paths_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Images.Config(path="x/../y").path == tmp_path / "y"
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Images.Config(path="~/x").path == Path("/home/somebody/x")
    assert Images.Config(path="x").model_dump(mode="json", exclude_none=True) == {
        "path": str(tmp_path / "x"),
        "bad_limit": 0.01,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"path": "x", "resolution": 3},
        {"path": "x", "channels": 2},
        {"path": "x", "bad_limit": 1.1},
        {"folder": "x"},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Images.Config(**wrong)


@pytest.mark.parametrize("name", ["nowhere", "no.zip", "notes.txt"])
def test_paths_without_images_are_refused_at_once(tmp_path, name):
    if name != "nowhere":
        (tmp_path / name).write_bytes(b"words")
    with pytest.raises(InputError, match="path: "):
        dataset(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there are no images in"):
        dataset(tmp_path / "empty")


def test_files_that_come_or_go_meanwhile_are_a_sentence(tmp_path):
    for number, change in enumerate(
        [
            lambda top: (top / "class0" / "0000.png").unlink(),
            lambda top: picture(1).save(top / "class1" / "new.png"),
            lambda top: many(top / "class9", 1),
            lambda top: (top / "class0" / "0000.png").rename(top / "loose.png"),
        ]
    ):
        top = many(tmp_path / f"x{number}", 8, classes=2)
        data = dataset(top, resolution=8)
        change(top)
        with pytest.raises(InputError, match=r"files have come or gone in .* while it was read"):
            data.load()


def test_ten_times_as_many_images_take_no_more_memory(tmp_path, monkeypatch):
    """While they are prepared: what Python holds at most; eight bytes of an image are its label."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 64 * 3 * 4 * 4)
    first = many(tmp_path / "first", 1) / "0000.png"

    def peak(count):
        top = tmp_path / str(count)
        for number in range(count):
            folder = top / f"class{number // 100:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            os.link(first, folder / f"{number:06d}.png")
        tracemalloc.start()
        assert prepare(dataset(top, resolution=4), tmp_path / f"{count}.safetensors", "test") == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few = peak(400)
    assert peak(4_000) < 1.25 * few
