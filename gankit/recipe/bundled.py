"""Recipes that are part of gankit: in the wheel as `gankit/_recipes`, in a checkout as `recipes/`."""

import tomllib
from pathlib import Path

from gankit.errors import InputError
from gankit.suggest import nearest


def recipes_folder() -> Path:
    """Return the folder of the bundled recipes."""
    package = Path(__file__).parent.parent
    in_wheel = package / "_recipes"
    return in_wheel if in_wheel.is_dir() else package.parent / "recipes"


def bundled_recipes() -> dict[str, Path]:
    """Return the files of the bundled recipes by name, in alphabetical order."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.toml"))}


def bundled_recipe(name: str) -> Path:
    """Return the file of a bundled recipe.

    Raises:
        InputError: there is no such recipe. The error suggests the nearest name.
    """
    recipes = bundled_recipes()
    if name not in recipes:
        raise InputError(f"no recipe {name!r} comes with gankit; {nearest(name, recipes)}it has {', '.join(recipes)}")
    return recipes[name]


def find_recipe(given: str) -> Path:
    """Return the file of a recipe, given by path or by the name of a bundled recipe. A path takes precedence.

    Raises:
        InputError: there is no such file and no such bundled recipe.
    """
    path = Path(given)
    if path.exists():
        return path
    recipes = bundled_recipes()
    if given in recipes:
        return recipes[given]
    hint = nearest(path.stem, recipes)
    raise InputError(f"there is no recipe {given}; {hint}`gankit recipes` lists those that come with gankit")


def summary(path: Path) -> str:
    """Return the first line of the comment at the start of a recipe, without the line with its schema."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next((line for line in lines if not line.startswith("#:")), "")
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""


def with_bases(path: Path) -> list[Path]:
    """Return a recipe and the chain of recipes that it extends."""
    chain = [path]
    while (base := tomllib.loads(chain[-1].read_text(encoding="utf-8")).get("extends")) is not None:
        chain.append(chain[-1].parent / base)
    return chain
