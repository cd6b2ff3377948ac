"""Loading of a dataset outside of a run, and the type of a plugin's setting that selects a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from gankit.errors import RecipeError, recipe_errors
from gankit.plugin.build import build_plugins
from gankit.plugin.dataset import Dataset
from gankit.plugin.registry import Registry
from gankit.plugin.spec import Spec
from gankit.recipe.path import LocatedText
from gankit.recipe.recipe import RecipeParser


def load_dataset(settings: Mapping[str, Any], source: str) -> Dataset:
    """Return the dataset that a data plugin provides. The samples are not read yet.

    Args:
        settings: table `[data]` of a recipe, such as `{"use": "images", "path": "/photos"}`.
        source: name of the file or command that contains the settings, for messages.

    Raises:
        InputError: a setting is wrong, or the data cannot be used.
    """
    parser = RecipeParser({"data": dict(settings)}, source, Registry.installed())
    _, hooks = build_plugins(parser.components_at(["data"]), source)
    with recipe_errors(source, "data"):
        dataset: Dataset = hooks.one("load_data", Spec())
    return dataset


def checked_table(table: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """Check a table of the form of `[data]`, and return it with default values and absolute paths.

    `info.context` contains the base folders of relative paths, as for `RecipePath`.

    Raises:
        ValueError: there is no such data plugin, or a setting of the plugin is wrong.
    """
    located = with_folders(table, "", info.context or {})
    try:
        component = RecipeParser({"data": located}, "data", Registry.installed()).components_at(["data"])["data"]
    except RecipeError as error:
        messages = (f"{problem.key.removeprefix('data.')}: {problem.message}" for problem in error.problems)
        raise ValueError("; ".join(messages)) from error
    return component.to_dict()


def with_folders(value: Any, key: str, folders: Mapping[tuple[str, str], Path]) -> Any:
    """Return a setting whose texts have their base folders again, which JSON does not contain.

    Args:
        value: value of the setting `key`.
        key: name of the setting.
        folders: base folder of each text, by the name of its setting and the text.
    """
    if isinstance(value, dict):
        return {name: with_folders(one, name, folders) for name, one in value.items()}
    if isinstance(value, str) and (folder := folders.get((key, value))) is not None:
        return LocatedText.of(value, folder)
    return value


DataTable = Annotated[dict[str, Any], AfterValidator(checked_table)]
"""Type of a plugin's setting that selects another dataset: a table with `use` and the settings of that data plugin.

The function `load_dataset` loads the dataset of the table. Paths in the table follow the rules of `RecipePath`.
"""
