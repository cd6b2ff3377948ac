"""Image files in folders and zip files: names, order, classes."""

import tracemalloc
import zipfile
import zlib
from pathlib import Path
from unittest.mock import Mock

import pytest

from gankit import InputError
from gankit_plugins.data import folder
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.folder import open_files, open_selection, sorted_names


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


MIXED = ["b.png", "A.JPG", "a/c.webp", "a/deep/er/d.jpeg", "notes.txt", "a/list.csv", "noending", "png", "x.png.bak"]
IGNORED = [".hidden.png", ".git/e.png", "a/.thumbs/f.png", "a/._c.png", ".png"]


def test_images_at_any_depth_are_listed_and_opened(tmp_path):
    expected = ["A.JPG", "a/c.webp", "a/deep/er/d.jpeg", "b.png"]
    folder = tree(tmp_path / "x", *MIXED, *IGNORED)
    for path in (folder, zipped(tmp_path / "x.zip", "empty/", *MIXED, *IGNORED, "__MACOSX/a/c.webp")):
        with open_files(path) as files:
            assert list(files.names()) == expected
            for name in expected:
                opened = files.open(name)
                assert (opened if isinstance(opened, bytes) else Path(opened).read_bytes()) == name.encode()


def test_a_selection_has_some_of_the_images(tmp_path):
    for path in (tree(tmp_path / "x", *MIXED), zipped(tmp_path / "x.zip", *MIXED)):
        with (
            open_selection(path, {"a/c.webp", "b.png", "other.png"}.__contains__) as files,
            open_files(path) as all_files,
        ):
            assert list(files.names()) == ["a/c.webp", "b.png"]
            assert files.open("b.png") == all_files.open("b.png")


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


def test_names_in_zip_files_of_any_origin(tmp_path):
    """Backslashes of Windows, a leading ./ or /, and UTF-8 names without the flag for them."""
    names = ["cats\\1.png", "./cats/2.png", "/cats/3.png", "schön/4.png", "schön\\5.png"]

    class WithoutFlag(zipfile.ZipInfo):
        def _encodeFilenameFlags(self):  # noqa: N802
            return self.filename.encode(), 0

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(WithoutFlag(name), b"")
    assert "schön/4.png" not in zipfile.ZipFile(tmp_path / "x.zip").namelist()
    expected = ["cats/1.png", "cats/2.png", "cats/3.png", "schön/4.png", "schön/5.png"]
    assert names_in(tmp_path / "x.zip") == expected
    assert names_in(zipped(tmp_path / "flag.zip", *names)) == expected


def test_files_that_are_not_images_are_counted_by_extension(tmp_path):
    expected = {".txt": 1, ".csv": 1, "no extension": 2, ".bak": 1}
    for path in (tree(tmp_path / "x", *MIXED, *IGNORED), zipped(tmp_path / "x.zip", *MIXED, *IGNORED)):
        with open_files(path) as files:
            for _ in range(2):
                list(files.names())
                assert files.passed_over == expected


def test_subfolders_and_other_files(tmp_path):
    names = ["a/b/1.png", "a/c/2.png", "top.png", "a/d/notes.txt"]
    (tree(tmp_path / "x", *names) / "a/e").mkdir()
    for path in (tmp_path / "x", zipped(tmp_path / "x.zip", "a/", "a/d/", "a/e/", *names)):
        with open_files(path) as files:
            assert files.subfolders("") == {"a"}
            assert files.subfolders("a/") == {"b", "c", "d", "e"}
            assert files.read("a/d/notes.txt") == b"a/d/notes.txt"
            assert files.read("a/d/no.txt") is None


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
    path = zipped(tmp_path / "x.zip", "1.png", "2.png")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"x\.zip is not a folder, a zip file or a file written by `gankit prepare`"):
        names_in(path)


def test_a_removed_folder_is_an_input_error(tmp_path):
    top = tree(tmp_path / "gone", "1.png")
    top = tree(tmp_path / "gone", "1.png")

    def list_removed():
        with open_files(top) as files:
            (top / "1.png").unlink()
            top.rmdir()
            list(files.names())

    with pytest.raises(InputError, match=r"path: .*gone does not exist"):
        list_removed()


def test_files_are_in_the_order_of_their_paths(tmp_path, monkeypatch):
    names = ["a/2.png", "a-b/1.png", "a.png", "a0/1.png", "a/b/3.png", "a/b.png", "a/b-c.png", "A/1.png", "zz.png"]
    top = tree(tmp_path / "x", *names)
    for limit in (1, 2, 100):
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
    assert peak(6_000) < 1.2 * few
