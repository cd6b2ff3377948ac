"""The beginning of somebody's plugin: one file beside a recipe, or a package that can be published."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

import gankit
from gankit.errors import InputError
from gankit.files import write_text

PACKAGE = {
    "pyproject.toml": "pyproject.toml.template",
    "README.md": "README.md.template",
    "{module}.py": "plugin.py.template",
    "tests/test_{name}.py": "test.py.template",
    ".github/workflows/test.yml": "ci.yml.template",
}
"""The files of a package, and what each is written from."""


def names_for(name: str) -> dict[str, str]:
    """What a plugin of this name is called everywhere: `name`, `class_name`, `module`, `distribution`, `title`.

    Raises InputError when it is no name for a plugin.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        wanted = re.sub(r"\W+|(?<=[a-z])(?=[A-Z])", "_", name).strip("_").lower()
        hint = f", {wanted} for instance" if wanted != name and re.fullmatch(r"[a-z]\w*", wanted) else ""
        raise InputError(f"NAME: {name!r} given; a plugin's name is lower-case words joined by '_'{hint}")
    return {
        "name": name,
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "module": f"gankit_{name}",
        "distribution": f"gankit-{name.replace('_', '-')}",
        "title": name.replace("_", " ").capitalize(),
        "gankit_version": ".".join(gankit.__version__.split(".")[:2]),
    }


def write_file(name: str, folder: Path) -> Path:
    """Writes a plugin in one file, `folder/NAME.py`.

    Raises InputError when it is there already.
    """
    path = folder / f"{name}.py"
    if path.exists():
        raise InputError(f"{path} is there already; choose another name, or remove it")
    write_text(path, _filled("plugin.py.template", names_for(name)))
    return path


def write_package(name: str, folder: Path) -> list[Path]:
    """Writes a package into `folder`, which must not be there or be empty. Gives its files.

    Raises InputError when something is there already.
    """
    names = names_for(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; choose another name or --out, or remove it")
    written = []
    for place, template in PACKAGE.items():
        path = folder / place.format(**names)
        write_text(path, _filled(template, names))
        written.append(path)
    return written


def _filled(template: str, names: dict[str, str]) -> str:
    text = files("gankit.scaffold").joinpath(template).read_text(encoding="utf-8")
    return Template(text).substitute(names)
