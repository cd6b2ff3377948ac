import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from gankit import InputError
from gankit_plugins.data import folder
from gankit_plugins.data.folder import in_order, listing, opened


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
    with opened(path) as shelf:
        return list(shelf.names())


MIXED = ["b.png", "A.JPG", "a/c.webp", "a/deep/er/d.jpeg", "notes.txt", "a/list.csv", "noending", "png", "x.png.bak"]
IGNORED = [".hidden.png", ".git/e.png", "a/.thumbs/f.png", "a/._c.png", ".png"]


def test_images_are_found_at_any_depth_in_order(tmp_path):
    expected = ["A.JPG", "a/c.webp", "a/deep/er/d.jpeg", "b.png"]
    assert names_in(tree(tmp_path / "x", *MIXED, *IGNORED)) == expected
    assert names_in(zipped(tmp_path / "x.zip", "empty/", *MIXED, *IGNORED, "__MACOSX/a/c.webp")) == expected


def test_files_are_read_by_their_names(tmp_path):
    for path in (tree(tmp_path / "x", *MIXED), zipped(tmp_path / "x.zip", *MIXED)):
        with opened(path) as shelf:
            for name in shelf.names():
                assert shelf.read(name) == name.encode()
                assert shelf.size(name) == len(name)


def test_nothing_is_unpacked(tmp_path, monkeypatch):
    path = zipped(tmp_path / "x.zip", *MIXED, "../../evil.png")
    monkeypatch.chdir(tmp_path)
    with opened(path) as shelf:
        assert "../../evil.png" not in shelf.names()
        for name in shelf.names():
            shelf.read(name)
    assert os.listdir(tmp_path) == ["x.zip"]


@pytest.mark.parametrize(
    ("inside", "seen"),
    [
        (["faces/1.png", "faces/2.png"], ["1.png", "2.png"]),
        (["pets/cats/1.png", "pets/dogs/2.png", "README.txt"], ["cats/1.png", "dogs/2.png"]),
        (["cats/1.png", "dogs/2.png"], ["cats/1.png", "dogs/2.png"]),
        (["a/1.png", "2.png"], ["2.png", "a/1.png"]),
    ],
)
def test_a_zip_files_single_outer_folder_is_looked_through(tmp_path, inside, seen):
    path = zipped(tmp_path / "x.zip", *inside)
    assert names_in(path) == seen
    with opened(path) as shelf:
        assert {shelf.read(name).decode().rpartition("/")[2] for name in seen} == {s.rpartition("/")[2] for s in seen}


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    tree(tmp_path / "elsewhere", "1.png")
    top = tree(tmp_path / "x", "cats/2.png")
    (top / "dogs").symlink_to(tmp_path / "elsewhere")
    (top / "cats" / "again").symlink_to(top)
    (top / "cats" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert names_in(top) == ["cats/2.png", "dogs/1.png"]


def test_paths_that_hold_no_images_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"path: there is no .*nowhere"):
        names_in(tmp_path / "nowhere")
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"x\.zip is neither a folder, nor a zip file, nor one that `gankit prepare`"):
        names_in(tmp_path / "x.zip")
    whole = zipped(tmp_path / "y.zip", "1.png", "2.png").read_bytes()
    (tmp_path / "y.zip").write_bytes(whole[:-30])
    with pytest.raises(InputError, match=r"y\.zip is neither"):
        names_in(tmp_path / "y.zip")


def test_a_folder_that_vanishes_is_a_sentence(tmp_path):
    top = tree(tmp_path / "gone", "1.png")

    def look():
        with opened(top) as shelf:
            (top / "1.png").unlink()
            top.rmdir()
            list(shelf.names())

    with pytest.raises(InputError, match=r"path: there is no .*gone"):
        look()


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
    found = listing(names, classes, Path("x"))
    assert (found.count, found.class_names) == (len(names), class_names)
    assert (labels is None and not class_names) or [found.label(name) for name in names] == labels


def test_loose_files_beside_folders_are_refused():
    with pytest.raises(InputError, match=r"one folder for each class, but 1\.png lies in none; .*`classes = false`"):
        listing(["1.png", "cats/2.png"], None, Path("x"))
    with pytest.raises(InputError, match=r"but 1\.png \(and 2 more\) lies in none"):
        listing(["1.png", "2.png", "3.png"], True, Path("x"))


@pytest.mark.parametrize("classes", [None, True, False])
def test_an_empty_folder_is_refused(classes):
    with pytest.raises(InputError, match="path: there are no images in x; known by their endings are png, jpg"):
        listing([], classes, Path("x"))


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_names_come_in_order_however_few_are_in_memory(monkeypatch, at_once):
    monkeypatch.setattr(folder, "AT_ONCE", at_once)
    names = ["b", "a-b/", "c.png", "a/", "é", "a0", "B", "ab"]
    assert list(in_order(lambda: iter(names))) == sorted(names)
    assert list(in_order(lambda: iter(()))) == []


def test_a_folders_files_are_in_the_order_of_their_paths(tmp_path, monkeypatch):
    names = ["a/2.png", "a-b/1.png", "a.png", "a0/1.png", "a/b/3.png", "a/b.png", "a/b-c.png", "A/1.png", "zz.png"]
    top = tree(tmp_path / "x", *names)
    for at_once in (2, 100):
        monkeypatch.setattr(folder, "AT_ONCE", at_once)
        assert names_in(top) == sorted(names)


def test_names_of_ten_times_as_many_files_take_no_more_memory(monkeypatch):
    monkeypatch.setattr(folder, "AT_ONCE", 500)

    def peak(count):
        tracemalloc.start()
        assert sum(1 for _ in in_order(lambda: (f"{number:08d}.png" for number in range(count, 0, -1)))) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few = peak(2_000)
    assert peak(20_000) < 1.2 * few
