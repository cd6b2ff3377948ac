"""`gankit new-plugin`: the templates work unchanged, as a package and as a file beside a recipe."""

import errno
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from gankit import InputError
from gankit.plugin.registry import Registry
from gankit.plugin.slots import KINDS
from gankit.scaffold import names_for
from gankit.testing import check_plugin


def test_a_new_package_passes_its_own_tests(gankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = gankit("new-plugin", "r2d2")
    assert answer.code == 0
    folder = tmp_path / "gankit-r2d2"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "pyproject.toml",
        "README.md",
        "gankit_r2d2.py",
        "tests/test_r2d2.py",
        ".github/workflows/test.yml",
        ".gitignore",
    }
    for line in (
        "pytest gankit-r2d2",
        "pip install -e 'gankit-r2d2[dev]'",
        "run gaussian_ring tricks.r2d2={}",
    ):
        assert line in answer.out
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["gankit.plugins"] == {"trick.r2d2": "gankit_r2d2:R2d2"}
    assert project["dependencies"] == ["gankit >= 0.1"]
    for path in folder.rglob("*"):
        assert path.is_dir() or "$" not in path.read_text().replace("${{ matrix.python }}", "")
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(folder)]) == 0
    for module in ("gankit_r2d2", "test_r2d2"):
        sys.modules.pop(module)


def test_a_single_file_is_found_from_the_current_folder(gankit, toy, monkeypatch):
    (toy / "elsewhere").mkdir()
    monkeypatch.chdir(toy / "elsewhere")
    answer = gankit("new-plugin", "quiet", "--single-file")
    assert answer.out.splitlines() == [
        "written: quiet.py",
        "next:",
        "  gankit run gaussian_ring tricks.quiet.use=./quiet.py:Quiet",
    ]
    run = gankit("run", "../toy.toml", "tricks.quiet.use=./quiet.py:Quiet", "train.iterations=2")
    assert run.code == 0, run.err


def test_nothing_is_overwritten(gankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quiet.py").write_text("mine")
    (tmp_path / "gankit-quiet").mkdir()
    (tmp_path / "gankit-quiet" / "README.md").write_text("mine")
    for arguments in (["quiet", "--single-file"], ["quiet"]):
        answer = gankit("new-plugin", *arguments)
        assert answer.code == 2
        assert ": exists already; choose another name" in answer.err
    assert (tmp_path / "quiet.py").read_text() == "mine"
    assert [p.name for p in (tmp_path / "gankit-quiet").iterdir()] == ["README.md"]
    answer = gankit("new-plugin", "quiet", "--out", "quiet.py")
    assert (answer.code, "quiet.py: is a file" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("LouderFakes", "louder_fakes"), ("my-trick", "my_trick"), ("../x", ""), ("", ""), ("x" * 99, "")],
)
def test_invalid_names(name, hint):
    with pytest.raises(InputError, match=f"a plugin's name is lower-case words.*{hint}"):
        names_for(name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["class"], "it is a keyword of Python; try class_trick"),
        (["none"], "it is a keyword of Python"),
        (["test_time"], "pytest would run its file as a test"),
        (["plugins"], "gankit_plugins is a module of gankit"),
        (["dropout"], "gankit has a plugin of kind trick with that name"),
        (["hinge"], "gankit has a plugin of kind loss with that name"),
        (["random", "--single-file"], "would hide the module random"),
        (["torch", "--single-file"], "would hide the module torch"),
    ],
)
def test_names_in_use(gankit, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    answer = gankit("new-plugin", *arguments)
    assert answer.code == 2
    assert expected in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_package_can_be_written_into_a_fresh_clone(gankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    assert gankit("new-plugin", "quiet", "--out", ".").code == 0
    assert (tmp_path / "gankit_quiet.py").exists()
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_full_disk_leaves_no_files(gankit, tmp_path, monkeypatch):
    written = []
    write_text = Path.write_text

    def failing(path, *arguments, **more):
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", failing)
    answer = gankit("new-plugin", "half_done", "--out", tmp_path / "half")
    assert answer.code == 1
    assert "the disk is full" in answer.err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "command"])
def test_single_file_of_each_kind_passes_the_checks_and_runs(gankit, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    answer = gankit("new-plugin", f"own_{kind}", "--kind", kind, "--single-file")
    assert answer.code == 0, answer.err
    *_, line = answer.out.splitlines()
    _, command, *arguments = shlex.split(line)
    assert command == "run"
    run = gankit("run", *arguments, "train.iterations=2", "train.device=cpu", "evaluation.count=16", "--out", "run")
    assert run.code == 0, run.err
    class_name = names_for(f"own_{kind}")["class_name"]
    target = Registry.installed().find(f"./own_{kind}.py:{class_name}", (kind,), tmp_path).target
    check_plugin(target, affects=kind != "logger", stand_in=False)


def test_package_of_a_command(gankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = gankit("new-plugin", "say_hello", "--kind", "command")
    assert answer.out.splitlines()[-1].strip() == "gankit say_hello world"
    project = tomllib.loads((tmp_path / "gankit-say-hello" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["gankit.plugins"] == {"command.say_hello": "gankit_say_hello:SayHello"}
    assert pytest.main(["-q", "-p", "no:cacheprovider", "gankit-say-hello"]) == 0
    for module in ("gankit_say_hello", "test_say_hello"):
        sys.modules.pop(module)
    answer = gankit("new-plugin", "sample", "--kind", "command")
    assert (answer.code, "gankit has a command with that name" in answer.err) == (2, True)
    answer = gankit("new-plugin", "say_bye", "--kind", "command", "--single-file")
    assert (answer.code, "leave the option out" in answer.err) == (2, True)
