"""WebDataset archives, which the tests write."""

import io
import json
import tarfile

import pytest
import torch
from PIL import Image

from gankit import InputError
from gankit.data.prepared import prepare, read_prepared
from gankit.testing import check_documentation, check_resume
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import MAX_BYTES
from gankit_plugins.data.tar_files import Member, find_archives
from gankit_plugins.data.webdataset import WebDataset, split_name
from tests.plugins.data.image_files import assert_photos, encoded, plain


def photo(number):
    """Return the content of a photo of one colour."""
    return encoded(plain("RGB", (number, 0, 7)))


def tar(path, files, mode="w"):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(*numbers, label=lambda number: number % 2, folder=""):
    """Return the files of samples with a photo and a class."""
    files = {}
    for number in numbers:
        files[f"{folder}{number:04}.png"] = photo(number)
        files[f"{folder}{number:04}.cls"] = str(label(number)).encode()
    return files


def dataset(path, **settings):
    return WebDataset(WebDataset.Config(path=path, resolution=8, **settings)).load_data()


def refusal(*arguments, **settings):
    with pytest.raises(InputError) as error:
        dataset(*arguments, **settings).read()
    return str(error.value)


def test_documentation():
    check_documentation(WebDataset)


def test_images_and_classes_of_several_archives(tmp_path):
    folder = tmp_path / "shards[1]"
    for shard, numbers in ((2, (4, 5)), (10, (6,)), (1, (3, 1))):
        tar(folder / f"train-{shard}.tar", samples(*numbers))
    tar(folder / "train-3.tar", samples(7))
    (folder / "readme.txt").write_text("")
    data = dataset(folder)
    assert data.class_names == ("0", "1")
    assert data.contents == "6 images of 6 files"
    assert_photos(data, [3, 1, 4, 5, 7, 6], [1, 1, 0, 1, 1, 0])
    assert_photos(dataset(folder / "train-2.tar"), [4, 5], [0, 1])
    assert_photos(dataset(folder / "train-2.tar", classes=False), [4, 5], None)
    plain_folder = folder.rename(tmp_path / "shards")
    assert_photos(dataset(plain_folder / "train-{1..3}.tar"), [3, 1, 4, 5, 7], [1, 1, 0, 1, 1])
    assert_photos(dataset(plain_folder / "train-1*.tar"), [3, 1, 6], [1, 1, 0])


def test_ranges_have_the_width_of_the_first_number(tmp_path):
    for name in ("a-08-x1.tar", "a-09-x1.tar", "a-10-x1.tar", "a-08-x2.tar", "a-09-x2.tar", "a-10-x2.tar"):
        (tmp_path / name).touch()
    found = [file.name for file in find_archives(tmp_path / "a-{08..10}-x{1..2}.tar")]
    assert found == [f"a-{first}-x{second}.tar" for first in ("08", "09", "10") for second in (1, 2)]


def test_the_same_key_in_two_archives(tmp_path):
    for shard in (1, 2):
        tar(tmp_path / f"{shard}.tar", samples(0, 1, label=lambda number, shard=shard: f"class {shard}"))
    data = dataset(tmp_path)
    assert data.class_names == ("class 1", "class 2")
    assert_photos(data, [0, 1, 0, 1], [0, 0, 1, 1])


def test_key_and_extension():
    assert split_name("a.b/c.seg.PNG") == ("a.b/c", "seg.png")
    assert split_name("c") == ("c", "")


def test_hidden_and_other_files(tmp_path):
    files = samples(1, 2, folder="./a.b/") | {
        "._0001.png": b"",
        "a/.x/1.png": b"",
        "0001.txt": b"a",
        "x/0001.txt": b"b",
    }
    data = dataset(tar(tmp_path / "x.tar", files))
    assert data.contents == "2 images of 4 files (others: 2 .txt)"
    assert_photos(data, [1, 2], [1, 0])


def test_several_images_of_a_sample_need_the_setting(tmp_path):
    files = {"1.jpg": encoded(plain("RGB", 0), "JPEG"), "1.png": photo(1), "1.seg.png": photo(2)}
    path = tar(tmp_path / "x.tar", files)
    assert refusal(path) == (
        f"image: {path}/1 has several images, such as 1.jpg and 1.png; set data.image to the extension of the images"
    )
    assert_photos(dataset(path, image="png"), [1], None)
    assert_photos(dataset(path, image="seg.png"), [2], None)
    assert refusal(path, image="webp").startswith(f"image: {path} has no files .webp, but files of .jpg, .png")


def test_classes_in_json(tmp_path):
    files = {}
    for number, label in ((1, "dog"), (2, "cat"), (3, "dog")):
        files |= {f"{number}.png": photo(number), f"{number}.json": json.dumps({"label": label, "id": number}).encode()}
    path = tar(tmp_path / "x.tar", files)
    data = dataset(path, label="label")
    assert data.class_names == ("cat", "dog")
    assert_photos(data, [1, 2, 3], [1, 0, 1])
    assert dataset(path, label="id").class_names == ("1", "2", "3")
    assert dataset(path).condition is None
    assert "1.json must have a number or a name under the key 'kind'" in refusal(path, label="kind")


def test_names_of_classes(tmp_path):
    path = tar(tmp_path / "x.tar", samples(1, 2, 3, label=lambda number: number))
    assert dataset(path).class_names == ("1", "2", "3")
    data = dataset(path, class_names=["a", "b", "c", "d", "e"])
    assert data.class_names == ("a", "b", "c", "d", "e")
    assert_photos(data, [1, 2, 3], [1, 2, 3])
    assert "class_names: " in refusal(path, class_names=["a", "b", "c"])


@pytest.mark.parametrize(
    ("change", "settings", "expected"),
    [
        ({"0002.cls": None}, {}, "x.tar/0002 has no file .cls with its class; add it, or set `classes = false`"),
        ({"0002.cls": b" \n"}, {}, "0002.cls must have a number or a name"),
        ({"0002.cls": b"\xff"}, {}, "0002.cls must have a number or a name"),
        ({"0001.json": b"{", "0002.json": b""}, {"label": "a"}, "0001.json must have a number or a name under"),
        ({"0001.json": b"[1]", "0002.json": b""}, {"label": "a"}, "0001.json must have"),
        ({"0001.json": b'{"a": true}', "0002.json": b""}, {"label": "a"}, "0001.json must have"),
        ({}, {"label": "a"}, "0001 has no file .json with its class"),
        ({"0001.cls": None, "0002.cls": None}, {"classes": True}, "has no file .cls"),
        ({"0001.png": None, "0002.png": None, "1.txt": b""}, {}, "x.tar has no images, but files of .txt"),
        ({"0001.png": b"no image"}, {"bad_limit": 0}, "0001.png (not an image"),
    ],
)
def test_wrong_samples(tmp_path, change, settings, expected):
    files = {name: content for name, content in (samples(1, 2) | change).items() if content is not None}
    assert expected in refusal(tar(tmp_path / "x.tar", files), **settings)


def test_damaged_images_are_skipped(tmp_path, capsys):
    data = dataset(tar(tmp_path / "x.tar", samples(1, 2, 3, 4) | {"0002.png": b"no image"}))
    assert_photos(data, [1, 3, 4], [1, 1, 0])
    assert "skipped 1 of the 4 images" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["header", "cut", "joined"])
def test_an_archive_that_ends_early_is_refused(tmp_path, damage):
    """`tarfile` stops at such places without an error."""
    content = bytearray(tar(tmp_path / "whole.tar", samples(1, 2, 3)).read_bytes())
    if damage == "header":
        content[content.rindex(b"ustar")] ^= 1
    elif damage == "cut":
        with tarfile.open(tmp_path / "whole.tar") as archive:
            content = content[: archive.getmembers()[2].offset]
    else:
        content *= 2
    (tmp_path / "x.tar").write_bytes(content)
    expected = "it is incomplete" if damage == "cut" else "it is damaged after byte"
    assert expected in refusal(tmp_path / "x.tar")


def test_unreadable_archives(tmp_path):
    assert "none.tar does not exist; give a tar archive" in refusal(tmp_path / "none.tar")
    (tmp_path / "x-0.tar").touch()
    assert "x-1.tar does not exist" in refusal(tmp_path / "x-{0..1}.tar")
    (tmp_path / "x-0.tar").unlink()
    assert "*.tar does not exist" in refusal(tmp_path)
    compressed = tar(tmp_path / "x.tar.gz", samples(1), "w:gz")
    assert "without compression" in refusal(compressed)
    whole = tar(tmp_path / "y.tar", {"1.png": bytes(5000), "2.png": bytes(5000)}).read_bytes()
    (tmp_path / "y.tar").write_bytes(whole[:7000])
    assert "y.tar cannot be read" in refusal(tmp_path / "y.tar")
    with pytest.raises(ImageError, match="at most"):
        Member(tmp_path / "y.tar", 0, MAX_BYTES + 1).read()
    with pytest.raises(ImageError, match="No such file"):
        Member(tmp_path / "z.tar", 0, 1).read()


def test_a_link_is_not_followed(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert "has no images" in refusal(tmp_path / "x.tar")


def test_prepared_file_has_the_same_data(tmp_path):
    gradient = Image.linear_gradient("L").convert("RGB")
    data = dataset(tar(tmp_path / "x.tar", samples(1, 2, 3) | {"4.jpg": encoded(gradient, "JPEG"), "4.cls": b"1"}))
    prepare(data, tmp_path / "out.safetensors", "test")
    prepared = read_prepared(tmp_path / "out.safetensors")
    assert torch.equal(prepared.read().images, data.read().images)
    assert torch.equal(prepared.read().condition, data.read().condition)
    assert prepared.note == "upright by EXIF, centre square, over white, Lanczos"


def test_resume_is_exact(tmp_path):
    tar(tmp_path / "x.tar", samples(*range(6)))
    tar(tmp_path / "y.tar", samples(*range(6, 11)))
    check_resume({}, {"data": {"use": "webdataset", "path": str(tmp_path), "resolution": 8}})
