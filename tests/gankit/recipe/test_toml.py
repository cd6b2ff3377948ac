"""Tests of TOML files and overrides: extends, merging, errors."""

import copy
from itertools import pairwise

import pytest

from gankit import InputError, Recipe
from gankit.errors import RecipeError
from gankit.recipe.bundled import bundled_recipes, with_bases
from gankit.recipe.toml import merge, parse_overrides, read_toml


def test_a_chain_of_recipes_is_merged_in_order(tmp_path):
    for name, text in {
        "a": 'seed = 1\n[train]\nbatch_size = 8\niterations = 1\n[tricks.x]\nuse = "p"\nq = 1\n',
        "b": 'extends = "a.toml"\nseed = 2\n[train]\niterations = 2\n[tricks.x]\nr = 2\n',
        "c": 'extends = "b.toml"\n[train]\niterations = 3\n[tricks.y]\n',
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    assert read_toml(tmp_path / "c.toml") == {
        "seed": 2,
        "train": {"batch_size": 8, "iterations": 3},
        "tricks": {"x": {"use": "p", "q": 1, "r": 2}, "y": {}},
    }


@pytest.mark.parametrize(
    ("text", "tricks"),
    [
        ('drop = ["tricks.x"]\n[tricks.z]', {"y": {}, "z": {}}),
        ('drop = ["tricks.x"]\n[tricks.x]\ns = 1', {"y": {}, "x": {"s": 1}}),
        ('drop = ["tricks"]', None),
        ('drop = ["tricks.x.r"]\norder = ["z", "y", "x"]\n[tricks.z]', {"z": {}, "y": {}, "x": {}}),
        ('order = ["y", "x"]', {"y": {}, "x": {"r": 1}}),
    ],
)
def test_an_extending_recipe_drops_and_orders_tricks(tmp_path, text, tricks):
    (tmp_path / "base.toml").write_text("[tricks.x]\nr = 1\n[tricks.y]\n")
    (tmp_path / "top.toml").write_text(f'extends = "base.toml"\n{text}')
    read = read_toml(tmp_path / "top.toml")
    assert read.get("tricks") == tricks
    assert list(read.get("tricks") or {}) == list(tricks or {})
    assert not {"drop", "order"} & read.keys()


def test_a_key_to_drop_that_does_not_exist_is_named_with_both_files(tmp_path):
    (tmp_path / "base.toml").write_text("[tricks.flip]\n")
    (tmp_path / "top.toml").write_text('extends = "base.toml"\ndrop = ["tricks.flop"]')
    with pytest.raises(RecipeError) as error:
        read_toml(tmp_path / "top.toml")
    base = tmp_path / "base.toml"
    assert f"drop: {base} has no key 'tricks.flop' to drop; did you mean 'tricks.flip'?" in str(error.value)
    assert "top.toml" in str(error.value)


def test_another_plugin_in_a_setting_drops_the_settings_of_the_old_one():
    below = {"data": {"use": "pairs", "rule": "grey", "images": {"use": "folder", "path": "a", "size": 8}}}
    same = merge(below, {"data": {"images": {"use": "folder", "size": 9}}})
    assert same["data"] == {"use": "pairs", "rule": "grey", "images": {"use": "folder", "path": "a", "size": 9}}
    other = merge(below, {"data": {"images": {"use": "drawn"}}})
    assert other["data"] == {"use": "pairs", "rule": "grey", "images": {"use": "drawn"}}


def test_a_bundled_recipe_is_extended_by_its_name(tmp_path):
    child = tmp_path / "igan_vn.toml"
    child.write_text('extends = "igan_vn"\nseed = 7\n')
    bundled = bundled_recipes()["igan_vn"]
    assert read_toml(child) == read_toml(bundled) | {"seed": 7}
    assert with_bases(child) == [child, bundled]
    (tmp_path / "igan_vn").write_text("seed = 3\n")
    assert read_toml(child) == {"seed": 7}


@pytest.mark.parametrize("chain", ["aa", "aba", "abcb"])
def test_a_circle_of_extends_is_an_error(tmp_path, chain):
    for name, base in pairwise(chain):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{base}.toml"')
    with pytest.raises(RecipeError, match=r"extends: the recipes extend each other in a circle: a\.toml -> "):
        read_toml(tmp_path / "a.toml")


BELOW = {
    "loss": {"use": "hinge", "margin": 2},
    "optimizer": {"generator": {"use": "sgd", "lr": 1}, "discriminator": {"lr": 2}},
    "tricks": {"noise": {"sigma": 3}, "other": {"use": "noise", "sigma": 4, "more": {"use": "x", "y": 1}}},
    "generator": "plain",
}


@pytest.mark.parametrize(
    ("above", "where", "merged"),
    [
        ({"loss": {"margin": 5}}, "loss", {"use": "hinge", "margin": 5}),
        ({"loss": {"use": "hinge"}}, "loss", {"use": "hinge", "margin": 2}),
        ({"loss": {"use": "other"}}, "loss", {"use": "other"}),
        ({"loss": "other"}, "loss", {"use": "other"}),
        ({"loss": "hinge"}, "loss", {"use": "hinge", "margin": 2}),
        ({"optimizer": {"generator": {"use": "adam"}}}, "optimizer.generator", {"use": "adam"}),
        # Without `use`, the plugin is the default, here adam.
        ({"optimizer": {"discriminator": {"use": "adam"}}}, "optimizer.discriminator", {"use": "adam", "lr": 2}),
        ({"optimizer": {"discriminator": {"use": "sgd"}}}, "optimizer.discriminator", {"use": "sgd"}),
        # Without `use`, the plugin of a trick has the name of the table.
        ({"tricks": {"noise": {"use": "noise"}}}, "tricks.noise", {"use": "noise", "sigma": 3}),
        ({"tricks": {"noise": {"use": "other"}}}, "tricks.noise", {"use": "other"}),
        # A setting may be the table of another plugin.
        ({"tricks": {"other": {"more": {"use": "z"}}}}, "tricks.other.more", {"use": "z"}),
        ({"tricks": {"other": {"more": "z"}}}, "tricks.other.more", "z"),
        ({"generator": {"width": 3}}, "generator", {"use": "plain", "width": 3}),
        ({"generator": {"use": "other"}}, "generator", {"use": "other"}),
        ({"train": {"seed": 1}}, "train", {"seed": 1}),
    ],
)
def test_merge_drops_the_settings_of_a_replaced_plugin(above, where, merged):
    before = copy.deepcopy((BELOW, above))
    result = merge(BELOW, above)
    for key in where.split("."):
        result = result[key]
    assert result == merged
    assert (BELOW, above) == before


@pytest.mark.parametrize(
    ("overrides", "nested"),
    [
        (["train.iterations=100"], {"train": {"iterations": 100}}),
        (["a.b=1", "a.c=[1, 2.5]"], {"a": {"b": 1, "c": [1, 2.5]}}),
        (["data.folder=/some/where else"], {"data": {"folder": "/some/where else"}}),
        (["a=true", "b=TRUE"], {"a": True, "b": "TRUE"}),
        (["a=1e-3", "b=-0.5", "c=1_000"], {"a": 1e-3, "b": -0.5, "c": 1000}),
        (["a='x=y'"], {"a": "x=y"}),
        (['a={b = 1, c = "d"}'], {"a": {"b": 1, "c": "d"}}),
        (["a=2026-11-20T00:00:00x"], {"a": "2026-11-20T00:00:00x"}),
        (["a=1", "a=2"], {"a": 2}),
        (["generator.use=./my.py:G"], {"generator": {"use": "./my.py:G"}}),
        (["device=cuda:1"], {"device": "cuda:1"}),
        (["loss=hinge", "loss.margin=2"], {"loss": {"use": "hinge", "margin": 2}}),
        (["loss.margin=2", "loss=hinge"], {"loss": {"margin": 2, "use": "hinge"}}),
        (
            ["optimizer.generator=sgd", "optimizer.generator.lr=4"],
            {"optimizer": {"generator": {"use": "sgd", "lr": 4}}},
        ),
    ],
)
def test_overrides_are_toml_values_or_bare_words(overrides, nested):
    assert parse_overrides(overrides) == nested


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["iterations"], "'iterations': an override is key=value, for example train.iterations=100"),
        (["=3"], "an override is key=value"),
        (["a..b=3"], "an override is key=value"),
        (["a="], "'' is not a TOML value; quote strings: a='\"...\"'"),
        (["a=[1"], "'[1' is not a TOML value"),
        (["a=" + "[" * 5000], "is not a TOML value"),
        (['a=x"y'], "is not a TOML value"),
        (["a=1", "a.b=2"], "another override makes 'a' a value, not a table"),
        (["a.b=2", "a=1"], "another override makes 'a' a table"),
    ],
)
def test_wrong_overrides_are_errors(overrides, message):
    with pytest.raises(InputError) as error:
        parse_overrides(overrides)
    assert message in str(error.value)
    assert repr(overrides[-1]) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "TOML: Invalid value (at end of document)"),
        ("a = 1\na = 2\n", "TOML: Cannot overwrite a value (at line 2"),
        ("a = " + "[" * 5000, "TOML: "),
        ("a = " + "9" * 5000, "TOML: Exceeds the limit"),
        ("train." + ".".join("a" * 5000) + " = 1", "TOML: nested too deeply"),
        ('extends = "gone.toml"', "extends: there is no recipe"),
        ('drop = ["tricks.x"]', "drop: it removes keys of an extended recipe, and there is no `extends`"),
        ("drop = 'tricks.x'", "drop: 'tricks.x' given; expected a list such as [\"tricks.r1\"]"),
        ("order = [1]", 'order: [1] given; expected a list such as ["r1", "flip"]'),
        ('order = ["x"]\n[tricks.y]', "order: ['x'] given; it must name each trick of the recipe once: y"),
        ('order = ["x"]', "it must name each trick of the recipe once: there are none"),
        ("extends = 3", "extends: 3 given; expected the path or the name of one recipe"),
        ('extends = "a\\u0000b"', "extends: "),
        ('extends = "."', "extends: "),
        (f'extends = "{"x" * 400}"', "extends: "),
    ],
)
def test_wrong_toml_is_an_error(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        Recipe.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone.toml", "there is no recipe"),
        (".", "is a folder; a recipe is a TOML file"),
        ("binary.toml", "is not text"),
        ("binary.toml/x.toml", "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_recipe_is_an_error(tmp_path, path, message):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=message):
        Recipe.load(tmp_path / path)
