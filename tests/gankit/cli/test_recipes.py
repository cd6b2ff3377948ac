"""`gankit recipes`, and recipe names in place of paths."""

import json

import pytest

from gankit.recipe import bundled


@pytest.fixture
def shelf(toy, tmp_path, monkeypatch):
    """Folder that replaces the bundled recipes: `toy`, and `short`, which extends it."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name in ("toy.toml", "toy.py"):
        (toy / name).rename(folder / name)
    (folder / "short.toml").write_text(
        '#  Two [iterations]  \n# Purpose: MNIST\nextends = "toy.toml"\ntrain.iterations = 2\n'
    )
    (folder / "bare.toml").write_text("seed = 1\n")
    monkeypatch.setattr(bundled, "recipes_folder", lambda: folder)
    return folder


def test_the_folder_of_the_wheel_is_preferred_to_that_of_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "gankit"
    package.mkdir()
    monkeypatch.setattr(bundled, "__file__", str(package / "recipe" / "bundled.py"))
    assert bundled.recipes_folder() == tmp_path / "recipes"
    (package / "_recipes").mkdir()
    assert bundled.recipes_folder() == package / "_recipes"


def test_list_and_show(gankit, shelf):
    answer = gankit("recipes")
    assert answer.code == 0
    assert answer.out.splitlines()[:-1] == [
        "MNIST:",
        "  short  Two [iterations]",
        "Other:",
        "  bare",
        "  toy    Noise in two classes",
    ]
    assert answer.out.splitlines()[-1].startswith("next: gankit run NAME")
    assert gankit("recipes", "show", "toy").out == (shelf / "toy.toml").read_text()
    for command in ("show", "copy"):
        assert "did you mean 'short'?" in gankit("recipes", command, "shrt").err


def test_json(gankit, shelf):
    answer = gankit("recipes", "--json")
    assert [(row["name"], row["purpose"], row["summary"]) for row in json.loads(answer.out)] == [
        ("short", "MNIST", "Two [iterations]"),
        ("bare", "Other", ""),
        ("toy", "Other", "Noise in two classes"),
    ]
    assert json.loads(answer.out)[0]["path"] == str(shelf / "short.toml")


def test_purpose_is_in_the_header_only(shelf):
    (shelf / "late.toml").write_text("#:schema x.json\n# First\n#\n# Purpose: My [own]\nseed = 1\n")
    assert bundled.purpose(shelf / "late.toml") == "My [own]"
    (shelf / "late.toml").write_text("# First\nseed = 1\n# Purpose: MNIST\n")
    assert (bundled.summary(shelf / "late.toml"), bundled.purpose(shelf / "late.toml")) == ("First", "")


def test_unknown_purposes_come_after_the_known_ones(gankit, shelf):
    (shelf / "late.toml").write_text("# First\n# Purpose: My [own]\n")
    headings = [line for line in gankit("recipes").out.splitlines() if line.endswith(":")]
    assert headings == ["MNIST:", "Other:", "My [own]:"]


@pytest.mark.parametrize("path", bundled.bundled_recipes().values(), ids=lambda path: path.stem)
def test_recipe_of_gankit_has_a_known_purpose(path):
    assert bundled.purpose(path) in bundled.PURPOSES


def test_list_of_the_program(start_process):
    out, err = start_process("recipes").communicate(timeout=60)
    assert err == ""
    *lines, last = out.splitlines()
    headings = [line.removesuffix(":") for line in lines if not line.startswith("  ")]
    assert headings == list(bundled.PURPOSES)
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(names) == list(bundled.bundled_recipes())
    assert last.startswith("next: gankit run NAME")


def test_copy_includes_base_recipes_and_overwrites_nothing(gankit, shelf, tmp_path):
    answer = gankit("recipes", "copy", "short")
    assert answer.out.splitlines() == ["copied to short.toml", "copied to toy.toml", "next: gankit run short.toml"]
    assert (tmp_path / "short.toml").read_text() == (shelf / "short.toml").read_text()
    assert (tmp_path / "toy.toml").read_text() == (shelf / "toy.toml").read_text()

    (tmp_path / "short.toml").write_text("# mine")
    again = gankit("recipes", "copy", "short")
    assert again.code == 2
    assert "error: short.toml: exists already" in again.err
    assert (tmp_path / "short.toml").read_text() == "# mine"

    # An equal base recipe may exist already, but not a changed one.
    elsewhere = gankit("recipes", "copy", "short", "my own.toml")
    assert elsewhere.out.splitlines() == ["copied to my own.toml", "next: gankit run 'my own.toml'"]
    (tmp_path / "toy.toml").write_text("# mine")
    assert gankit("recipes", "copy", "short", "third.toml").code == 2
    assert not (tmp_path / "third.toml").exists()

    (tmp_path / "folder").mkdir()
    assert gankit("recipes", "copy", "toy", "folder").code == 0
    assert (tmp_path / "folder" / "toy.toml").exists()


def test_a_path_is_preferred_to_a_name(gankit, shelf, tmp_path):
    assert gankit("validate", "short").out.startswith(f"{shelf}/short.toml: no mistakes")
    (tmp_path / "short").write_text("nonsense = 1")
    assert "short: nonsense: unknown key" in gankit("validate", "short").err


@pytest.mark.parametrize("given", ["shor", "shor.toml", "recipes/shor.toml"])
def test_missing_recipe(gankit, shelf, given):
    answer = gankit("run", given)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"error: there is no recipe {given}; did you mean 'short'? `gankit recipes` lists those that come with gankit\n"
    )
