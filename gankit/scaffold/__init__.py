"""The beginning of somebody's plugin: one file beside a recipe, or a package that can be published."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from gankit.errors import InputError
from gankit.plugin.registry import Registry
from gankit.storage.atomic_io import TEMPORARY, disk_errors, write_text
from gankit.version import __version__

PACKAGE = {
    "pyproject.toml": "pyproject.toml.template",
    "README.md": "README.md.template",
    "{module}.py": "plugin.py.template",
    "tests/test_{name}.py": "test.py.template",
    ".github/workflows/test.yml": "ci.yml.template",
    ".gitignore": "gitignore.template",
}
"""The files of a package, and what each is written from."""


LONGEST = 60
"""Letters of a name; file systems take about four times as many, and a distribution's name is longer."""


def names_for(name: str) -> dict[str, str]:
    """What a plugin of this name is called everywhere: `name`, `class_name`, `module`, `distribution`, `title`.

    Raises InputError when it is no name for a plugin.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > LONGEST:
        wanted = re.sub(r"\W+|(?<=[a-z])(?=[A-Z])", "_", name).strip("_").lower()
        hint = (
            f", {wanted} for instance" if wanted != name and re.fullmatch(rf"[a-z]\w{{,{LONGEST - 1}}}", wanted) else ""
        )
        raise InputError(
            f"NAME: {name[: 2 * LONGEST]!r} given; a plugin's name is lower-case words joined by '_', of up to "
            f"{LONGEST} letters{hint}"
        )
    class_name = "".join(word.capitalize() for word in name.split("_"))
    if keyword.iskeyword(name) or keyword.iskeyword(class_name):
        raise InputError(f"NAME: {name!r} given; that is a word of Python's own: {name}_trick would do")
    if re.match("test(_|$)", name):
        raise InputError(f"NAME: {name!r} given; pytest would take its file for a test: choose another")
    return {
        "name": name,
        "class_name": class_name,
        "module": f"gankit_{name}",
        "distribution": f"gankit-{name.replace('_', '-')}",
        "title": name.replace("_", " ").capitalize(),
        "gankit_version": ".".join(__version__.split(".")[:2]),
    }


def check_new(name: str, registry: Registry) -> None:
    """Raises InputError when the name, or the package's, belongs to somebody else: both could not be told apart."""
    names = names_for(name)
    for entry in registry.entries:
        if (
            entry.distribution != names["distribution"]
            and entry.value.partition(":")[0].split(".")[0] == names["module"]
        ):
            raise InputError(
                f"NAME: {name!r} given; {names['module']} is a package of {entry.distribution}: choose another"
            )
        if entry.name == name and entry.distribution != names["distribution"]:
            raise InputError(
                f"NAME: {name!r} given; {entry.distribution} has a {entry.kind or 'plugin'} of that name: choose "
                "another"
            )


def write_file(name: str, folder: Path) -> Path:
    """Writes a plugin in one file, `folder/NAME.py`.

    Raises InputError when it is there already, or would hide a module of that name.
    """
    names, path = names_for(name), folder / f"{name}.py"
    if path.exists():
        raise InputError(f"{path} is there already; choose another name, or remove it")
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise InputError(f"NAME: {name!r} given; {path} would hide the module {name} from Python: choose another")
    write_text(path, _filled("plugin.py.template", names))
    return path


def write_package(name: str, folder: Path) -> list[Path]:
    """Writes a package into `folder`, which may be there (a fresh clone), and gives its files: all of them or none.

    Raises InputError when one of them is there already.
    """
    names = names_for(name)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose another --out, or remove it")
    paths = {folder / place.format(**names): template for place, template in PACKAGE.items()}
    for path in paths:
        if path.exists():
            raise InputError(f"{path} is there already; choose another name or --out, or remove it")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=TEMPORARY) as beside:
            for number, template in enumerate(paths.values()):
                (Path(beside) / str(number)).write_text(_filled(template, names), encoding="utf-8")
            for number, path in enumerate(paths):
                path.parent.mkdir(parents=True, exist_ok=True)
                (Path(beside) / str(number)).rename(path)
    return list(paths)


def _filled(template: str, names: dict[str, str]) -> str:
    text = files("gankit.scaffold").joinpath(template).read_text(encoding="utf-8")
    return Template(text).substitute(names)
