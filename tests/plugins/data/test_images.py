"""Images in folders, zip files and prepared files, end to end."""

import os
import tracemalloc
import zipfile

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gankit import InputError, VectorCondition
from gankit.data.prepared import prepare
from gankit.testing import check_dataset
from gankit_plugins.data import images as module
from gankit_plugins.data.images import Images

MODES = ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"]


def image_of(number):
    """Return an image that no other number has. Modes and sizes vary."""
    mode = MODES[number % len(MODES)]
    width, height = 6 + number % 9, 6 + number % 7
    image = Image.new("RGB", (width, height), (number % 256, number * 7 % 256, number // 256 * 40))
    image.putpixel((3, 3), (255, 255, 255))
    if mode == "I;16":
        return image.convert("L").convert("I").point(lambda value: value * 257).convert("I;16")
    return image.convert(mode)


def write_images(top, count, classes=0):
    for number in range(count):
        folder = top / f"class{number % classes}" if classes else top
        folder.mkdir(parents=True, exist_ok=True)
        image_of(number).save(folder / f"{number:04d}.png", compress_level=1)
    return top


def zipped(top):
    path = top.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(top.parent))
    return path


def dataset(path, **settings):
    return Images(Images.Config(path=path, **settings)).load_data()


def assert_same(one, two):
    (images, labels), (others, other_labels) = one[:2], two[:2]
    assert images.dtype == others.dtype == torch.uint8
    assert torch.equal(images, others)
    assert (labels is None and other_labels is None) or torch.equal(labels, other_labels)


def test_images_of_a_folder_and_of_a_zip_file(tmp_path):
    top = write_images(tmp_path / "many", 100, classes=4)
    loaded = []
    for path in (top, top, zipped(top)):
        data = dataset(path, resolution=8)
        assert (data.shape, data.at_most) == ((3, 8, 8), 100)
        assert data.class_names == ("class0", "class1", "class2", "class3")
        loaded.append(data.load())
        assert_same(loaded[-1], loaded[0])
    images, labels = loaded[0]
    assert images.shape == (100, 3, 8, 8)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [k for k in range(4) for _ in range(25)]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_stream_equals_load_for_any_chunk_size(tmp_path, monkeypatch, chunk):
    data = dataset(write_images(tmp_path / "x", 20, classes=2), resolution=8)
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk * 3 * 8 * 8)
    chunks, labels = zip(*data.stream(), strict=True)
    assert [len(images) for images in chunks[:-1]] == [chunk] * (len(chunks) - 1)
    assert_same((torch.cat(chunks), torch.cat(labels)), data.load())


@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 3)])
def test_prepared_images_equal_the_unprepared_ones(tmp_path, channels, classes):
    direct = dataset(damage(write_images(tmp_path / "x", 20, classes), 3, 12), resolution=11, channels=channels)
    out = tmp_path / "x.safetensors"
    assert prepare(direct, out, "test") == 18
    prepared = dataset(out)
    assert (prepared.shape, prepared.class_names) == ((channels, 11, 11), direct.class_names)
    assert_same(prepared.load(), direct.load())
    assert prepared.note == direct.note != ""


def test_settings_must_agree_with_a_prepared_file(tmp_path):
    out = tmp_path / "x.safetensors"
    prepare(dataset(write_images(tmp_path / "x", 6, classes=2), resolution=16, channels=1), out, "test")
    assert dataset(out, resolution=16, channels=1, classes=True).class_names == ("class0", "class1")
    with pytest.raises(
        InputError, match=r"resolution: .*x\.safetensors was prepared with resolution=16, but 64 is requested"
    ):
        dataset(out, resolution=64)
    with pytest.raises(
        InputError, match=r"channels: .* was prepared with channels=1, but 3 is requested; set data.channels=1"
    ):
        dataset(out, channels=3)
    without = dataset(out, classes=False)
    assert without.class_names == ()
    assert_same(without.load(), (dataset(out).load()[0], None))
    prepare(without, tmp_path / "y.safetensors", "test")
    with pytest.raises(InputError, match=r"classes: .* was prepared without classes"):
        dataset(tmp_path / "y.safetensors", classes=True)
    with pytest.raises(InputError, match=r"nowhere\.safetensors"):
        dataset(tmp_path / "nowhere.safetensors")


def test_without_classes(tmp_path):
    flat = dataset(write_images(tmp_path / "flat", 4))
    assert (flat.class_names, flat.shape) == ((), (3, 64, 64))
    images, labels = flat.load()
    assert images.shape == (4, 3, 64, 64)
    assert labels is None
    assert dataset(write_images(tmp_path / "tree", 4, classes=2), classes=False).load()[1] is None


def test_attributes_are_the_condition_also_in_a_prepared_file(tmp_path):
    top = write_images(tmp_path / "x", 6)
    files = sorted(path.name for path in top.glob("*.png"))
    rows = [("file", "age", "hair"), *((file, number, "ab"[number % 2]) for number, file in enumerate(files))]
    (top / "labels.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    direct = dataset(top, resolution=8)
    assert direct.condition == VectorCondition(("age", "hair=a", "hair=b"), ((0, 5), (0, 1), (0, 1)))
    images, condition, _ = direct.read()
    expected = [[2 * number / 5 - 1, 1 - 2 * (number % 2), 2 * (number % 2) - 1] for number in range(6)]
    torch.testing.assert_close(condition, torch.tensor(expected))
    check_dataset(direct)
    prepare(direct, tmp_path / "x.safetensors", "test")
    prepared = dataset(tmp_path / "x.safetensors")
    assert prepared.condition == direct.condition
    assert all(torch.equal(one, two) for one, two in zip(prepared.read()[:2], (images, condition), strict=True))
    assert dataset(tmp_path / "x.safetensors", classes=False).read().condition is None
    with pytest.raises(InputError, match=r"classes: .* was prepared without classes"):
        dataset(tmp_path / "x.safetensors", classes=True)
    damage(top, 1)
    assert torch.equal(dataset(top, resolution=8).read().condition, condition[[0, 2, 3, 4, 5]])


def damage(folder, *numbers):
    files = sorted(path for path in folder.rglob("*.png"))
    for number in numbers:
        files[number].write_bytes(b"no image")
    return folder


def test_bad_files_are_named_counted_and_skipped(tmp_path, capsys):
    top = write_images(tmp_path / "x", 20, classes=2)
    whole, labels = dataset(top, resolution=8).load()
    assert capsys.readouterr() == ("", "")
    damage(top, 0, 7, 19)
    remaining = dataset(top, resolution=8).load()
    good = [n for n in range(20) if n not in (0, 7, 19)]
    assert_same(remaining, (whole[good], labels[good]))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"{top}: skipped 3 of the 20 images: class0/0000.png (not an image, or not of a supported format), "
        "class0/0014.png (not an image, or not of a supported format), "
        "class1/0019.png (not an image, or not of a supported format)\n"
    )


def test_other_files_and_surprising_folders_are_named(tmp_path, capsys):
    top = write_images(tmp_path / "x", 4, classes=2)
    (top / "class2").mkdir()
    for name in ("a.HEIC", "b.heic", "class0/c.txt"):
        (top / name).write_bytes(b"")
    data = dataset(top, resolution=8)
    assert data.contents == "4 images of 7 files (others: 2 .heic, 1 .txt)"
    data.load()
    assert capsys.readouterr().err == f"{top}: folders with no images are not classes: class2\n"


def test_dark_16_bit_images_are_named(tmp_path, capsys):
    """12 bits in 16. A single bright image in the folder shows that all 16 bits are used."""
    top = write_images(tmp_path / "x", 1)
    for number, peak in enumerate((4095, 1000)):
        Image.new("I;16", (8, 8), peak).save(top / f"deep{number}.png")
    dataset(top, resolution=8).load()
    assert capsys.readouterr().err == (
        f"{top}: the largest 16-bit value in 2 images is 4095, so they are dark; if the values have 12 bits, multiply "
        "them by 16 to use all 16 bits\n"
    )
    Image.new("I;16", (8, 8), 40000).save(top / "bright.png")
    dataset(top, resolution=8).load()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wrapped", ["", "a/", "a/b/"])
def test_a_zip_file_has_the_labels_of_its_folder(tmp_path, wrapped):
    """Labels are in natural order, and do not depend on a folder around everything."""
    top = tmp_path / "x"
    for number in range(12):
        (folder := top / wrapped / str(number)).mkdir(parents=True)
        Image.new("L", (8, 8), 10 * number).save(folder / "i.png")
    (images, labels), other = dataset(top, resolution=8).load(), dataset(zipped(top), resolution=8).load()
    assert_same((images, labels), other)
    assert torch.equal(images[:, 0, 0, 0].long(), 10 * labels)


@pytest.mark.parametrize(("limit", "allowed"), [(0.01, 3), (0.2, 4), (0, 0)])
def test_bad_files_are_skipped_up_to_the_limit(tmp_path, limit, allowed):
    data = dataset(damage(write_images(tmp_path / "x", 20), *range(allowed)), bad_limit=limit, resolution=8)
    assert len(data.load()[0]) == 20 - allowed
    damage(tmp_path, allowed)
    message = rf"path: more than {allowed} of the 20 .*0000\.png.*raise data.bad_limit from {limit}"
    with pytest.raises(InputError, match=message):
        data.load()


def test_five_bad_files_are_named_and_the_rest_counted(tmp_path, capsys):
    dataset(damage(write_images(tmp_path / "x", 20), *range(19)), bad_limit=1, resolution=8).load()
    err = capsys.readouterr().err
    assert "0004.png" in err
    assert "0005.png" not in err
    assert err.endswith(" and 14 more\n")


@pytest.mark.parametrize(
    ("count", "classes", "bad", "message"),
    [
        (2, 0, (0, 1), r"none of the images in .* can be used: 0000"),
        (2, 2, (0, 1), r"none of the images in .* can be used: class0/0000"),
        (12, 6, (4, 5), "none of the images of class class2 in"),
        (30, 0, range(4), "more than 3 of the 30"),
    ],
)
def test_too_many_bad_files_leave_no_prepared_file(tmp_path, count, classes, bad, message):
    with pytest.raises(InputError, match=message):
        prepare(dataset(damage(write_images(tmp_path / "x", count, classes), *bad)), tmp_path / "x.safetensors", "test")
    assert os.listdir(tmp_path) == ["x"]


def test_building_the_dataset_decodes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "decode_all", None)
    assert dataset(write_images(tmp_path / "x", 3)).at_most == 3


def test_an_encrypted_or_damaged_zip_entry_is_a_bad_file(tmp_path):
    top = write_images(tmp_path / "x", 10)
    path = zipped(top)
    data = bytearray(path.read_bytes())
    at = data.index(b"0003.png") + len("0003.png") + 20
    data[at] ^= 255
    path.write_bytes(data)
    assert len(dataset(path).load()[0]) == 9


def test_slow_reading_recommends_gankit_prepare(tmp_path, monkeypatch, capsys):
    top = write_images(tmp_path / "my images", 2)
    monkeypatch.setattr(module, "SLOW", -1.0)
    dataset(top, resolution=32, channels=1).load()
    command = f"gankit prepare images --out FILE 'path={top}' resolution=32 channels=1"
    assert f"`{command}`" in capsys.readouterr().err
    dataset(top, resolution=32, channels=1, classes=False, bad_limit=0.5).load()
    assert f"`{command} classes=false bad_limit=0.5`" in capsys.readouterr().err


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Images.Config(path="x").model_dump(mode="json")["path"] == str(tmp_path / "x")


@pytest.mark.parametrize(
    "wrong", [{}, {"path": "x", "resolution": 3}, {"path": "x", "channels": 2}, {"path": "x", "bad_limit": 1.1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Images.Config(**wrong)


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "class0" / "0000.png").unlink(),
        lambda top: image_of(1).save(top / "class1" / "new.png"),
        lambda top: write_images(top / "class9", 1),
        lambda top: (top / "class0" / "0000.png").rename(top / "loose.png"),
    ],
    ids=["removed", "added", "new class", "moved"],
)
def test_files_added_or_removed_during_reading_are_an_error(tmp_path, change):
    top = write_images(tmp_path / "x", 8, classes=2)
    data = dataset(top, resolution=8)
    change(top)
    with pytest.raises(InputError, match=r"files in .* were added or removed while it was read"):
        data.load()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    """Python's memory during `prepare`. The labels grow, by eight bytes per image."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 64 * 3 * 4 * 4)
    first = write_images(tmp_path / "first", 1) / "0000.png"

    def peak(count):
        top = tmp_path / str(count)
        for number in range(count):
            folder = top / f"class{number // 100:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            os.link(first, folder / f"{number:06d}.png")
        tracemalloc.start()
        assert prepare(dataset(top, resolution=4), tmp_path / f"{count}.safetensors", "test") == count
        _, memory = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return memory

    few = peak(300)
    assert peak(1_200) < 1.25 * few
