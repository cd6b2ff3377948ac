"""Relative paths in recipes, in files and on the command line."""

import copy
from pathlib import Path

import pytest
from pydantic import Field

from gankit import Plugin, Recipe, RecipePath, Settings, hookimpl
from gankit.errors import RecipeError
from gankit.recipe import toml
from gankit.recipe.path import LocatedText, folders_of, locate


class Table(Settings):
    file: RecipePath = Field(description="a file")


class Reader(Plugin):
    """Trick with path settings, as a stranger writes it."""

    name = "reader"

    class Config(Settings):
        file: RecipePath = Field(description="a file")
        more: list[RecipePath] = Field([], description="more files")
        default: RecipePath = Field(Path("default.txt"), description="a file", validate_default=True)
        table: Table | None = Field(None, description="a table")
        tables: list[Table] = Field([], description="tables")
        named: dict[str, RecipePath] = Field({}, description="files by name")

    @hookimpl
    def on_start(self, run):
        pass


@pytest.fixture
def recipe(shelf, toy_dict, tmp_path, monkeypatch):
    """Write a recipe into a folder, and work in another folder."""
    import tomli_w

    shelf.add(Reader)
    for folder in ("recipes/base", "work"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")

    def write(place, **changes):
        (tmp_path / place).write_text(tomli_w.dumps(toy_dict(**changes)))
        return tmp_path / place

    return write


def reader_of(recipe):
    return recipe.components["tricks.reader"].config


def test_a_path_in_a_file_is_relative_to_the_file(recipe, tmp_path):
    path = recipe("recipes/a.toml", tricks={"reader": {"use": "Reader", "file": "x.csv", "more": ["../y", "/z"]}})
    config = reader_of(Recipe.load(path))
    assert config.file == tmp_path / "recipes" / "x.csv"
    assert config.more == [tmp_path / "y", Path("/z")]
    assert config.default == tmp_path / "work" / "default.txt"


def test_a_path_in_a_nested_table_is_relative_to_the_file(recipe, tmp_path):
    nested = {"table": {"file": "t.csv"}, "tables": [{"file": "l.csv"}], "named": {"a": "n.csv"}}
    path = recipe("recipes/a.toml", tricks={"reader": {"use": "Reader", "file": "x.csv", **nested}})
    config = reader_of(Recipe.load(path))
    found = [config.table.file, config.tables[0].file, config.named["a"]]
    assert found == [tmp_path / "recipes" / name for name in ("t.csv", "l.csv", "n.csv")]


def test_a_path_on_the_command_line_is_relative_to_the_current_folder(recipe, tmp_path):
    path = recipe("recipes/a.toml", tricks={"reader": {"use": "Reader", "file": "x.csv"}})
    config = reader_of(Recipe.load(path, ["tricks.reader.file=../o.csv", "tricks.reader.more=['~/m']"]))
    assert config.file == tmp_path / "o.csv"
    assert config.more == [Path.home() / "m"]


def test_each_path_is_relative_to_the_file_that_contains_it(recipe, tmp_path):
    recipe("recipes/base/b.toml", tricks={"reader": {"use": "Reader", "file": "x.csv", "more": ["m"]}})
    extending = tmp_path / "recipes" / "a.toml"
    extending.write_text('extends = "base/b.toml"\n[tricks.reader]\nmore = ["n"]\n')
    config = reader_of(Recipe.load(extending))
    assert config.file == tmp_path / "recipes" / "base" / "x.csv"
    assert config.more == [tmp_path / "recipes" / "n"]


def test_a_path_in_a_bundled_recipe_is_relative_to_the_current_folder(recipe, tmp_path, monkeypatch):
    path = recipe("recipes/a.toml", tricks={"reader": {"use": "Reader", "file": "x.csv"}})
    monkeypatch.setattr(toml, "recipes_folder", lambda: path.parent)
    assert reader_of(Recipe.load(path)).file == tmp_path / "work" / "x.csv"


def test_the_resolved_recipe_has_absolute_paths(recipe, tmp_path, monkeypatch):
    """A run stores the resolved recipe, so a resumed run finds the same file from any folder."""
    path = recipe("recipes/a.toml", tricks={"reader": {"use": "Reader", "file": "x.csv", "more": ["m"]}})
    first = Recipe.load(path)
    stored = tmp_path / "run" / "recipe.toml"
    stored.parent.mkdir()
    stored.write_text(first.to_toml())
    monkeypatch.chdir("/")
    assert reader_of(Recipe.load(stored)) == reader_of(first)


def test_texts_keep_their_folder():
    text = LocatedText.of("x", Path("/f"))
    assert copy.deepcopy([text])[0].folder == Path("/f")
    assert locate({"a": [{"b": "y"}, 3, text]}, Path("/g")) == {"a": [{"b": "y"}, 3, "x"]}
    assert folders_of(locate({"a": ["y", text], "b": "z"}, Path("/g"))) == {
        ("a", "y"): Path("/g"),
        ("a", "x"): Path("/f"),
        ("b", "z"): Path("/g"),
    }


def test_a_path_of_another_type_is_refused(recipe):
    path = recipe("recipes/a.toml", tricks={"reader": {"use": "Reader", "file": 3}})
    with pytest.raises(RecipeError, match=r"tricks\.reader\.file: 3 given; input should be a valid string"):
        Recipe.load(path)
