"""Loading of a dataset outside of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gankit.errors import recipe_errors
from gankit.plugin.build import build_plugins
from gankit.plugin.dataset import Dataset
from gankit.plugin.registry import Registry
from gankit.plugin.spec import Spec
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
