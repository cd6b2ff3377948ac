"""JSON schema of recipes: up to date, and valid for all bundled recipes."""

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gankit.plugin.registry import Registry
from gankit.recipe.bundled import bundled_recipes, recipes_folder
from gankit.recipe.json_schema import recipe_schema

FILE = recipes_folder() / "gankit.schema.json"


def test_file_is_up_to_date():
    """Remedy: `gankit schema --out recipes/gankit.schema.json`, with no other plugins installed."""
    entries = [entry for entry in Registry.installed().entries if entry.distribution == "gankit"]
    schema, broken = recipe_schema(entries)
    assert broken == []
    assert json.loads(FILE.read_text(encoding="utf-8")) == schema


@pytest.mark.parametrize("path", bundled_recipes().values(), ids=lambda path: path.stem)
def test_recipe_names_the_schema_and_is_valid(path: Path):
    assert path.read_text(encoding="utf-8").splitlines()[0] == f"#:schema {FILE.name}"
    validator = Draft202012Validator(json.loads(FILE.read_text(encoding="utf-8")))
    assert list(validator.iter_errors(tomllib.loads(path.read_text(encoding="utf-8")))) == []
