"""Tests of atomic writes."""

import errno
import json
import os

import pytest
import torch
from safetensors import safe_open

from gankit import GankitError
from gankit.storage import atomic_io
from gankit.storage.atomic_io import disk_errors, tensors_to_bytes, write_bytes, write_folder, write_json


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "deep" / "x"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["x"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch, step, code):
    path = tmp_path / "x"
    write_bytes(path, b"one")

    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic_io.os, step, fail)
    with pytest.raises(GankitError) as error:
        write_bytes(path, b"two")
    assert error.value.exit_code == 1
    assert str(path) in str(error.value)
    assert os.strerror(code) in str(error.value)
    assert str(error.value).startswith("the disk is full") == (code != errno.EIO)
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["x"]


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic_io.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "x", b"one")
    assert names(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GankitError, match="could not be written"):
        write_bytes(tmp_path / "file" / "x", b"")


def test_concurrent_writes_use_different_temporary_files(tmp_path, monkeypatch):
    def write_from_other_process(*arguments):
        monkeypatch.undo()
        monkeypatch.setattr(atomic_io.os, "getpid", lambda: -1)
        write_bytes(tmp_path / "x", b"the other's", shared=True)

    monkeypatch.setattr(atomic_io.os, "fsync", write_from_other_process)
    write_bytes(tmp_path / "x", b"mine", shared=True)
    assert (tmp_path / "x").read_bytes() == b"mine"
    assert names(tmp_path) == ["x"]


def test_disk_errors_passes_other_errors(tmp_path):
    with pytest.raises(ZeroDivisionError), disk_errors(tmp_path):
        raise ZeroDivisionError


def test_write_json_sorts_keys_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": [None, 1.5]})
    assert (tmp_path / "x.json").read_text() == '{\n  "a": [\n    null,\n    1.5\n  ],\n  "b": 1\n}\n'


def test_tensors_to_bytes_round_trip(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    tensors = {"a": shared, "b": shared.T, "c": torch.tensor(7), "d": torch.zeros(0, 2, dtype=torch.uint8)}
    (tmp_path / "x").write_bytes(tensors_to_bytes(tensors, {"z": 1, "y": "ü"}))
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert json.loads(file.metadata()["gankit"]) == {"z": 1, "y": "ü"}
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118
            name: value.tolist() for name, value in tensors.items()
        }
    assert tensors_to_bytes(tensors, {"y": "ü", "z": 1}) == (tmp_path / "x").read_bytes()


def test_tensors_to_bytes_without_tensors(tmp_path):
    from safetensors.torch import load

    assert load(tensors_to_bytes({})) == {}


def test_a_folder_is_replaced_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "x"
    write_folder(path, lambda folder: (folder / "a").write_text("one"))

    def interrupted(folder):
        (folder / "a").write_text("two")
        assert (path / "a").read_text() == "one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(path, interrupted)
    assert (path / "a").read_text() == "one"
    assert names(path.parent) == ["x"]
    write_folder(path, lambda folder: (folder / "b").write_text("three"))
    assert (names(path), names(path.parent)) == (["b"], ["x"])
    write_folder(path, lambda folder: None)
    assert names(path.parent) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GankitError, match="could not be written: Not a directory"):
        write_folder(tmp_path / "file" / "x", lambda folder: None)
