"""The JSON Schema of recipes takes what gankit takes and names what it refuses."""

from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field

from gankit import InputError, Plugin, Recipe, Settings, hookimpl
from gankit.plugin.registry import Entry
from gankit.recipe.json_schema import recipe_schema


class Louder(Plugin):
    """Scales what D is shown. Source: none."""

    name = "Louder"

    class Config(Settings):
        gain: float = Field(1.1, gt=0, description="what fake images are multiplied by")
        sides: list[str] = Field(["fake"], description="which")

    @hookimpl
    def after_iteration(self): ...


@pytest.fixture
def errors(shelf, toy_dict, tmp_path):
    """A function that gives the number of a recipe's errors, and asserts that gankit agrees."""
    shelf.add(Louder)
    schema, broken = recipe_schema(shelf.registry.entries)
    Draft202012Validator.check_schema(schema)
    assert broken == []
    validator = Draft202012Validator(schema)

    def count(raw):
        found = len(list(validator.iter_errors(raw)))
        try:
            Recipe.from_dict(raw, source=tmp_path / "toy.toml")
        except InputError:
            assert found
        else:
            assert not found
        return found

    return count


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"tricks": {"Louder": {}}}, True),
        ({"tricks": {"Louder": {"gain": 2}}}, True),
        ({"tricks": {"mine": {"use": "Louder", "gain": 2, "sides": ["real"]}}}, True),
        ({"tricks": {"Wander": {"use": "Louder", "gain": 2}}}, True),
        ({"tricks": {"Louder": {"gian": 2}}}, False),
        ({"tricks": {"Louder": {"gain": "2"}}}, False),
        ({"tricks": {"Louder": {"gain": 0}}}, False),
        ({"tricks": {"Louder": {"use": "Louder", "gain": 0}}}, False),
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
def test_it_agrees_with_gankit(errors, toy_dict, changes, right):
    raw = toy_dict()
    for table, value in changes.items():
        # Laid over, not merged in: what stands at a place is to be wholly as given.
        raw[table] = raw[table] | value if table in ("optimizer", "train") else value
    assert (errors(raw) == 0) is right


def test_a_resolved_recipe_is_one(errors, toy_recipe):
    assert errors(toy_recipe(tricks={"Louder": {}}).to_dict()) == 0


def test_a_broken_plugin_is_left_out_and_named(shelf):
    entries = [*shelf.registry.entries, Entry("trick", "gone", "elsewhere", "1", "no_such_module:Gone")]
    schema, broken = recipe_schema(entries)
    assert "gone" not in schema["properties"]["tricks"]["properties"]
    (sentence,) = broken
    assert "plugin 'trick.gone' of elsewhere 1 cannot be imported" in sentence


class Callback(Plugin):
    """Settings that no JSON can write."""

    name = "Callback"

    class Config(Settings):
        change: Callable[[int], int] | None = Field(None, description="a function")


def test_settings_without_a_schema_leave_their_plugin_out(shelf):
    shelf.add(Callback)
    schema, (sentence,) = recipe_schema(shelf.registry.entries)
    assert "Callback" not in schema["properties"]["tricks"]["properties"]
    assert sentence.startswith("trick.Callback of own: its settings have no schema: ")
