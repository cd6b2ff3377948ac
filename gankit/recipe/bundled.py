"""The recipes that travel with gankit: in the wheel as `gankit/_recipes`, in a checkout as `recipes/`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from gankit.errors import InputError
from gankit.suggest import nearest


def recipes_folder() -> Path:
    """Where they lie."""
    package = Path(__file__).parent.parent
    in_wheel = package / "_recipes"
    return in_wheel if in_wheel.is_dir() else package.parent / "recipes"


def bundled_recipes() -> dict[str, Path]:
    """Their files by name, in alphabetical order."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.toml"))}


def bundled_recipe(name: str) -> Path:
    """The file of one of them.

    Raises InputError, with the nearest name, when there is none.
    """
    recipes = bundled_recipes()
    if name not in recipes:
        raise InputError(f"no recipe {name!r} comes with gankit; {nearest(name, recipes)}it has {', '.join(recipes)}")
    return recipes[name]


def find_recipe(given: str) -> Path:
    """A path, or the name of a recipe that comes with gankit; a path wins.

    Raises InputError when it is neither.
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
    """The first line of the comment that a recipe begins with, behind the one that names its schema."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next((line for line in lines if not line.startswith("#:")), "")
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""


def with_bases(path: Path) -> list[Path]:
    """A recipe and, one after the other, the recipes beneath it that it `extends`."""
    chain = [path]
    while (base := tomllib.loads(chain[-1].read_text(encoding="utf-8")).get("extends")) is not None:
        chain.append(chain[-1].parent / base)
    return chain
