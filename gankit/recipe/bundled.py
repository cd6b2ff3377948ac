"""Recipes that come with gankit. The files are in `gankit/_recipes` in a wheel, and in `recipes/` in the repository."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from gankit.errors import InputError
from gankit.suggest import nearest

PURPOSES = (
    "First run",
    "Few images",
    "MNIST",
    "CIFAR-10",
    "Images of a requested class",
    "Images of requested attributes",
    "Text to image",
    "An image from an image",
    "Several tasks",
    "Video",
    "Texts",
    "Mode collapse",
    "Tables",
    "Audio",
    "Settings of papers, for GPUs",
)
"""Purposes of the recipes that come with gankit, in the order in which `gankit recipes` shows them."""

PURPOSE = "Purpose: "
"""Prefix of the line that states the purpose of a recipe, in the comment at the start of the recipe file."""


def recipes_folder() -> Path:
    """Return the path to the folder of the recipes that come with gankit."""
    package = Path(__file__).parent.parent
    in_wheel = package / "_recipes"
    return in_wheel if in_wheel.is_dir() else package.parent / "recipes"


def bundled_recipes() -> dict[str, Path]:
    """Return the paths to the recipes that come with gankit, by name, in alphabetical order."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.toml"))}


def bundled_recipe(name: str) -> Path:
    """Return the path to the recipe called `name` that comes with gankit.

    Raises:
        InputError: gankit has no recipe of this name. The error message suggests a similar name.
    """
    recipes = bundled_recipes()
    if name not in recipes:
        raise InputError(f"no recipe {name!r} comes with gankit; {nearest(name, recipes)}it has {', '.join(recipes)}")
    return recipes[name]


def find_recipe(given: str, folder: Path = Path()) -> Path:
    """Return the path to a recipe. `given` is either a path, or the name of a recipe that comes with gankit.

    A relative path is relative to `folder`. If `given` is both a path and a name, the path takes precedence.

    Raises:
        InputError: there is no file at this path, and gankit has no recipe of this name.
    """
    path = folder / given
    if os.path.exists(path):  # unlike Path.exists, False for a name that is too long
        return path
    recipes = bundled_recipes()
    if given in recipes:
        return recipes[given]
    hint = nearest(path.stem, recipes)
    raise InputError(f"there is no recipe {path}; {hint}`gankit recipes` lists those that come with gankit")


def header(path: Path) -> Iterator[str]:
    """Yield the lines of the comment at the start of a recipe file. `#:schema` lines for editors are skipped."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("#:"):
            yield line.lstrip("# ").rstrip()


def summary(path: Path) -> str:
    """Return the first line of the comment at the start of a recipe file, or an empty string."""
    return next(header(path), "")


def purpose(path: Path) -> str:
    """Return the purpose of a recipe, or an empty string.

    The comment at the start of the recipe file states the purpose in a line such as `# Purpose: MNIST`.
    """
    return next((line.removeprefix(PURPOSE) for line in header(path) if line.startswith(PURPOSE)), "")


def with_bases(path: Path) -> list[Path]:
    """Return the path to a recipe, and the paths to all recipes that it extends, directly or indirectly."""
    chain = [path]
    while (base := tomllib.loads(chain[-1].read_text(encoding="utf-8")).get("extends")) is not None:
        chain.append(find_recipe(base, chain[-1].parent))
    return chain
