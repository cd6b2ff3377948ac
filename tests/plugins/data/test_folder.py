"""Image files in folders and zip files: names, order, classes."""

import os
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from unittest.mock import Mock

import pytest

from gankit import InputError
from gankit_plugins.data import folder
from gankit_plugins.data.decode import ImageError
from gankit_plugins.data.folder import list_classes, open_files, sorted_names


def tree(top, *names):
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return top


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name.encode() if not name.endswith("/") else b"")
    return path


def names_in(path):
    with open_files(path) as files:
        return list(files.names())


def content(files, name):
    """Return the content of a file that `open` returns as a path or as content."""
    opened = files.open(name)
    return opened if isinstance(opened, bytes) else Path(opened).read_bytes()


MIXED = ["b.png", "A.JPG", "a/c.webp", "a/deep/er/d.jpeg", "notes.txt", "a/list.csv", "noending", "png", "x.png.bak"]
IGNORED = [".hidden.png", ".git/e.png", "a/.thumbs/f.png", "a/._c.png", ".png"]


def test_images_at_any_depth_are_listed_sorted_names(tmp_path):
    expected = ["A.JPG", "a/c.webp", "a/deep/er/d.jpeg", "b.png"]
    assert names_in(tree(tmp_path / "x", *MIXED, *IGNORED)) == expected
    assert names_in(zipped(tmp_path / "x.zip", "empty/", *MIXED, *IGNORED, "__MACOSX/a/c.webp")) == expected


def test_files_are_opened_by_their_names(tmp_path):
    for path in (tree(tmp_path / "x", *MIXED), zipped(tmp_path / "x.zip", *MIXED)):
        with open_files(path) as files:
            for name in files.names():
                assert content(files, name) == name.encode()


def test_zip_entries_that_cannot_be_read_are_image_errors(tmp_path, monkeypatch):
    with open_files(zipped(tmp_path / "x.zip", "a.png")) as files:
        for problem in OSError(5, "Input/output error"), RuntimeError("encrypted"), zlib.error("bad"):
            monkeypatch.setattr(files.archive, "read", Mock(side_effect=problem))
            with pytest.raises(ImageError) as error:
                files.open("a.png")
            assert str(error.value) == str(problem)
        files.entries["a.png"].file_size = 2**40
        with pytest.raises(ImageError, match="the file has 1099511627776 bytes; at most 1073741824 are read"):
            files.open("a.png")


def test_zip_files_are_not_unpacked(tmp_path, monkeypatch):
    path = zipped(tmp_path / "x.zip", *MIXED, "../../evil.png")
    monkeypatch.chdir(tmp_path)
    with open_files(path) as files:
        assert "../../evil.png" not in files.names()
        for name in files.names():
            files.open(name)
    assert os.listdir(tmp_path) == ["x.zip"]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["faces/1.png", "faces/2.png"], ["1.png", "2.png"]),
        (["pets/cats/1.png", "pets/dogs/2.png", "README.txt"], ["cats/1.png", "dogs/2.png"]),
        (["cats/1.png", "dogs/2.png"], ["cats/1.png", "dogs/2.png"]),
        (["a/1.png", "2.png"], ["2.png", "a/1.png"]),
    ],
)
def test_a_single_top_folder_of_a_zip_file_is_skipped(tmp_path, entries, expected):
    path = zipped(tmp_path / "x.zip", *entries)
    assert names_in(path) == expected
    with open_files(path) as files:
        assert {content(files, name).decode().rpartition("/")[2] for name in expected} == {
            name.rpartition("/")[2] for name in expected
        }


def test_links_are_followed_without_cycles(tmp_path):
    tree(tmp_path / "elsewhere", "1.png")
    top = tree(tmp_path / "x", "cats/2.png")
    (top / "dogs").symlink_to(tmp_path / "elsewhere")
    (top / "cats" / "again").symlink_to(top)
    (top / "cats" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert names_in(top) == ["cats/2.png", "dogs/1.png"]


def test_missing_and_broken_paths_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"path: .*nowhere does not exist"):
        names_in(tmp_path / "nowhere")
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"x\.zip is not a folder, a zip file or a file written by `gankit prepare`"):
        names_in(tmp_path / "x.zip")
    whole = zipped(tmp_path / "y.zip", "1.png", "2.png").read_bytes()
    (tmp_path / "y.zip").write_bytes(whole[:-30])
    with pytest.raises(InputError, match=r"y\.zip is not a folder"):
        names_in(tmp_path / "y.zip")


def test_a_removed_folder_is_an_input_error(tmp_path):
    top = tree(tmp_path / "gone", "1.png")

    def list_removed():
        with open_files(top) as files:
            (top / "1.png").unlink()
            top.rmdir()
            list(files.names())

    with pytest.raises(InputError, match=r"path: .*gone does not exist"):
        list_removed()


@pytest.mark.parametrize(
    ("names", "classes", "labels", "class_names"),
    [
        (["1.png", "2.png"], None, None, ()),
        (["1.png", "2.png"], False, None, ()),
        (["cats/1.png", "cats/2.png", "dogs/1.png"], None, [0, 0, 1], ("cats", "dogs")),
        (["cats/1.png", "cats/2.png", "dogs/1.png"], True, [0, 0, 1], ("cats", "dogs")),
        (["cats/1.png", "dogs/1.png"], False, None, ()),
        (["cats/in/2.png", "cats/out/1.png", "dogs/3.png"], None, [0, 0, 1], ("cats", "dogs")),
        (["1.png", "cats/1.png"], False, None, ()),
        (["only/1.png"], None, [0], ("only",)),
        (["Zoo/1.png", "zoo-1/3.png", "zoo/2.png"], None, [0, 2, 1], ("Zoo", "zoo", "zoo-1")),
    ],
)
def test_folders_are_classes(names, classes, labels, class_names):
    listing = list_classes(names, classes, Path("x"))
    assert (listing.count, listing.class_names) == (len(names), class_names)
    assert (labels is None and not class_names) or [listing.label(name) for name in names] == labels


def test_files_outside_of_class_folders_are_refused():
    with pytest.raises(InputError, match=r"x: 1\.png is not in the folder of a class; .*`classes = false`"):
        list_classes(["1.png", "cats/2.png"], None, Path("x"))
    with pytest.raises(InputError, match=r"x: 1\.png \(and 2 more\) is not in the folder of a class"):
        list_classes(["1.png", "2.png", "3.png"], True, Path("x"))


@pytest.mark.parametrize("classes", [None, True, False])
def test_an_empty_folder_is_refused(classes):
    with pytest.raises(InputError, match="path: x contains no images; the extensions are png, jpg"):
        list_classes([], classes, Path("x"))


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_sorted_names_with_few_names_in_memory(monkeypatch, limit):
    monkeypatch.setattr(folder, "NAMES_IN_MEMORY", limit)
    names = ["b", "a-b/", "c.png", "a/", "é", "a0", "B", "ab"]
    assert list(sorted_names(lambda: iter(names))) == sorted(names)
    assert list(sorted_names(lambda: iter(()))) == []


def test_files_are_in_the_order_of_their_paths(tmp_path, monkeypatch):
    names = ["a/2.png", "a-b/1.png", "a.png", "a0/1.png", "a/b/3.png", "a/b.png", "a/b-c.png", "A/1.png", "zz.png"]
    top = tree(tmp_path / "x", *names)
    for limit in (2, 100):
        monkeypatch.setattr(folder, "NAMES_IN_MEMORY", limit)
        assert names_in(top) == sorted(names)


def test_memory_does_not_grow_with_the_number_of_names(monkeypatch):
    monkeypatch.setattr(folder, "NAMES_IN_MEMORY", 500)

    def peak(count):
        tracemalloc.start()
        assert sum(1 for _ in sorted_names(lambda: (f"{number:08d}.png" for number in range(count, 0, -1)))) == count
        _, memory = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return memory

    few = peak(1_000)
    assert peak(10_000) < 1.2 * few
