"""What `gankit new-plugin` writes works at once, as a package and as a file beside a recipe."""

import os
import subprocess
import sys
import tomllib

import pytest

from gankit import InputError
from gankit.scaffold import names_for


def test_a_package_passes_its_own_tests_at_once(gankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = gankit("new-plugin", "louder_fakes")
    assert answer.code == 0
    folder = tmp_path / "gankit-louder-fakes"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "pyproject.toml",
        "README.md",
        "gankit_louder_fakes.py",
        "tests/test_louder_fakes.py",
        ".github/workflows/test.yml",
    }
    for line in ("pytest gankit-louder-fakes", "pip install -e gankit-louder-fakes", "tricks.louder_fakes.strength="):
        assert line in answer.out
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "4 passed" in told.stdout


def test_the_package_offers_the_plugin_and_no_placeholder_is_left(gankit, tmp_path):
    assert gankit("new-plugin", "r2d2", "--out", tmp_path / "x y").code == 0
    project = tomllib.loads((tmp_path / "x y" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["gankit.plugins"] == {"trick.r2d2": "gankit_r2d2:R2d2"}
    assert project["dependencies"] == ["gankit >= 0.1"]
    for path in (tmp_path / "x y").rglob("*"):
        assert path.is_dir() or "$" not in path.read_text()


def test_a_single_file_trains_from_where_the_command_is_typed(gankit, toy, monkeypatch):
    (toy / "elsewhere").mkdir()
    monkeypatch.chdir(toy / "elsewhere")
    answer = gankit("new-plugin", "quiet", "--single-file")
    assert answer.out.splitlines() == [
        "written: quiet.py",
        "next:",
        "  gankit run igan_vn tricks.quiet.use=./quiet.py:Quiet",
    ]
    played = gankit("run", "../toy.toml", "tricks.quiet.use=./quiet.py:Quiet", "train.iterations=2")
    assert played.code == 0, played.err


def test_nothing_is_overwritten(gankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quiet.py").write_text("mine")
    (tmp_path / "gankit-quiet").mkdir()
    (tmp_path / "gankit-quiet" / "mine").write_text("mine")
    for arguments in (["quiet", "--single-file"], ["quiet"]):
        answer = gankit("new-plugin", *arguments)
        assert answer.code == 2
        assert "is there already; choose another name" in answer.err
    assert (tmp_path / "quiet.py").read_text() == "mine"
    assert [p.name for p in (tmp_path / "gankit-quiet").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("LouderFakes", "louder_fakes"), ("my-trick", "my_trick"), ("9", ""), ("class", ""), ("../x", ""), ("", "")],
)
def test_names_that_are_none(name, hint):
    with pytest.raises(InputError, match=f"a plugin's name is lower-case words.*{hint}"):
        names_for(name)
