"""Tests of the JSON Schema of recipes: it accepts what gankit accepts, and refuses what gankit refuses."""

from collections.abc import Callable
from functools import cache

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field

from gankit import InputError, Plugin, Recipe, Settings, hookimpl
from gankit.plugin.registry import Entry
from gankit.recipe.json_schema import recipe_schema


class Louder(Plugin):
    """Scales the inputs of D. Source: none."""

    name = "Louder"

    class Config(Settings):
        gain: float = Field(1.1, gt=0, description="factor of fake images")
        sides: list[str] = Field(["fake"], description="sides to scale")

    @hookimpl
    def after_iteration(self): ...


@cache
def schema_validator(entries):
    """Return a validator of the schema. The schema is the same for all tests, and building it takes long."""
    schema, broken = recipe_schema(entries)
    Draft202012Validator.check_schema(schema)
    assert broken == []
    return Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        ({"tricks": {"Louder": {}}}, True),
        ({"tricks": {"Louder": {"gain": 2}}}, True),
        ({"tricks": {"mine": {"use": "Louder", "gain": 2, "sides": ["real"]}}}, True),
        ({"tricks": {"Wander": {"use": "Louder", "gain": 2}}}, True),
        ({"tricks": {"Louder": {"gian": 2}}}, False),
        ({"tricks": {"Louder": {"gain": "2"}}}, False),
        ({"tricks": {"Louder": {"gain": 0}}}, False),
        ({"tricks": {"Luoder": {}}}, False),
        ({"tricks": {"loud": {"use": "Louder@own"}}}, True),
        ({"tricks": {"Louder": {"use": "Wander", "bogus": 1}}}, False),
        ({"generator": "G@toys"}, True),
        ({"optimizer": {"generator": {"use": "Adam@toys", "lr": 0}}}, False),
        ({"name": "a/b"}, False),
        ({"seed": 2**63}, False),
        ({"tricks": {"Louder": 3}}, False),
        ({"generator": {"use": "G", "width": 3}}, True),
        ({"generator": {"use": "G", "widht": 3}}, False),
        ({"generator": "Blobs"}, False),
        ({"optimizer": {"generator": {"use": "Adam", "lr": 0.1}}}, True),
        ({"optimizer": {"generator": {"use": "Adam", "lr": 0}}}, False),
        ({"optimizer": {"both": "Adam"}}, False),
        ({"train": {"iterations": 0}}, False),
        ({"trian": {"iterations": 3}}, False),
        ({"requires": ["click"], "seed": 3}, True),
        ({"requires": "click"}, False),
        ({"seed": -1}, False),
    ],
)
def test_the_schema_agrees_with_gankit(shelf, toy_dict, tmp_path, changes, valid):
    shelf.add(Louder)
    validator = schema_validator(tuple(shelf.registry.entries))
    raw = toy_dict()
    for table, value in changes.items():
        # Not `merge`: a plugin's table must be exactly as given.
        raw[table] = raw[table] | value if table in ("optimizer", "train") else value
    assert validator.is_valid(raw) is valid
    if valid:
        assert validator.is_valid(Recipe.from_dict(raw, source=tmp_path / "toy.toml").to_dict())
    else:
        with pytest.raises(InputError):
            Recipe.from_dict(raw, source=tmp_path / "toy.toml")


class Callback(Plugin):
    """Plugin with a setting that JSON cannot hold."""

    name = "Callback"

    class Config(Settings):
        change: Callable[[int], int] | None = Field(None, description="a function")


def test_plugins_without_a_schema_are_left_out_and_named(shelf):
    shelf.add(Callback)
    gone = Entry("trick", "gone", "elsewhere", "1", "no_such_module:Gone")
    schema, (first, second) = recipe_schema([*shelf.registry.entries, gone])
    assert not {"Callback", "gone"} & schema["properties"]["tricks"]["properties"].keys()
    assert first.startswith("trick.Callback of own: its settings have no schema: ")
    assert "plugin 'trick.gone' of elsewhere 1 cannot be imported" in second
