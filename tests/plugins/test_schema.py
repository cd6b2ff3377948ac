"""The recipes that come with gankit name a schema, which fits them and what is installed."""

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gankit.plugin.registry import Registry
from gankit.recipe.bundled import bundled_recipes, recipes_folder
from gankit.recipe.json_schema import recipe_schema

FILE = recipes_folder() / "gankit.schema.json"


def test_the_file_is_as_gankit_schema_writes_it():
    """When this fails: `gankit schema --out recipes/gankit.schema.json` where no other plugins are installed."""
    ours = [entry for entry in Registry.installed().entries if entry.distribution == "gankit"]
    schema, broken = recipe_schema(ours)
    assert broken == []
    assert json.loads(FILE.read_text(encoding="utf-8")) == schema


@pytest.mark.parametrize("path", bundled_recipes().values(), ids=lambda path: path.stem)
def test_each_recipe_names_it_and_fits_it(path: Path):
    assert path.read_text(encoding="utf-8").splitlines()[0] == f"#:schema {FILE.name}"
    validator = Draft202012Validator(json.loads(FILE.read_text(encoding="utf-8")))
    assert list(validator.iter_errors(tomllib.loads(path.read_text(encoding="utf-8")))) == []
