"""Table `[init]` of a recipe."""

from pathlib import Path

import pytest

from gankit import Recipe
from gankit.errors import RecipeError


@pytest.fixture
def load(shelf, toy_file, tmp_path):
    """Return a function that writes a table `[init]` and returns the loaded recipe."""

    def call(init, *overrides):
        return Recipe.load(toy_file(init=init), overrides)

    return call


def test_paths_are_relative_to_their_recipe_or_the_current_folder(load, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    load({"generator": "a/g.safetensors"})
    (tmp_path / "sub").mkdir()
    above = tmp_path / "sub" / "above.toml"
    above.write_text('extends = "../toy.toml"\n[init]\ndiscriminator = "a/g.safetensors"\n')
    assert Recipe.load(above, ["init.encoder=a/g.safetensors", "init.critic=~/c"]).init.sources == {
        "generator": tmp_path / "a/g.safetensors",
        "discriminator": tmp_path / "sub/a/g.safetensors",
        "encoder": tmp_path / "here/a/g.safetensors",
        "critic": Path.home() / "c",
    }


def test_a_recipe_keeps_its_table(load):
    recipe = load({"generator": "g.safetensors"}, 'init.map.generator={"their.net" = "", "their.w" = "a.b"}')
    assert recipe.init.map == {"generator": {"their.net": "", "their.w": "a.b"}}
    assert Recipe.from_dict(recipe.to_dict()).init == recipe.init
    assert recipe.changed(drop=["init"]).init.sources == {}
    absolute = Recipe.from_dict(recipe.to_dict() | {"init": {"generator": Path("g.safetensors")}})
    assert absolute.init.sources == {"generator": Path.cwd() / "g.safetensors"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("init.generator=3", "init.generator: 3 given"),
        ("init.generator=~no_such_user/g", "init.generator: ~no_such_user/g: there is no such home folder"),
        ("init.map.generator=3", "init.map.generator: 3 given"),
        ("init=3", "init: 3 given; expected a table"),
    ],
)
def test_mistakes(load, override, expected):
    with pytest.raises(RecipeError) as error:
        load({}, override)
    assert expected in str(error.value)
