"""Creation of new plugins from templates, either as a single file or as a package that can be published."""

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
from gankit.plugin.slots import PLAYER_SLOTS, TRICK_KINDS, Kind
from gankit.storage.atomic_io import TEMPORARY, disk_errors, write_text
from gankit.version import __version__

PACKAGE = {
    "pyproject.toml": "pyproject.toml.template",
    "README.md": "README.md.template",
    "{module}.py": "plugins/{kind}.py.template",
    "tests/test_{name}.py": "tests/{test}.py.template",
    ".github/workflows/test.yml": "ci.yml.template",
    ".gitignore": "gitignore.template",
}
"""Files of a new plugin package: path of each file in the package, and path of its template."""

READ_ONLY: tuple[Kind, ...] = ("logger",)
"""Kinds of plugins that do not change the training."""

MAX_LENGTH = 60
"""Maximum length of a plugin name. File names contain the plugin name, and file systems limit their length."""


def names_for(name: str, kind: Kind = "trick") -> dict[str, str]:
    """Return the values of the template variables, such as the class name, for a new plugin of the given kind.

    Raises:
        InputError: the name is not valid for a plugin.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > MAX_LENGTH:
        valid = re.sub(r"\W+|(?<=[a-z])(?=[A-Z])", "_", name).strip("_").lower()
        hint = f"; try {valid}" if valid != name and re.fullmatch(rf"[a-z]\w{{,{MAX_LENGTH - 1}}}", valid) else ""
        raise InputError(
            f"NAME: {name[: 2 * MAX_LENGTH]!r} given; a plugin's name is lower-case words joined by '_', of up to "
            f"{MAX_LENGTH} letters{hint}"
        )
    class_name = "".join(word.capitalize() for word in name.split("_"))
    if keyword.iskeyword(name) or keyword.iskeyword(class_name):
        raise InputError(f"NAME: {name!r} given; it is a keyword of Python; try {name}_{kind}")
    if re.match("test(_|$)", name):
        raise InputError(f"NAME: {name!r} given; pytest would run its file as a test; choose another name")
    return {
        "name": name,
        "kind": kind,
        "test": "trick" if kind == "trick" else "other",
        "check_arguments": ", affects=False" if kind in READ_ONLY else "",
        "run": run_command(kind, name),
        "class_name": class_name,
        "module": f"gankit_{name}",
        "distribution": f"gankit-{name.replace('_', '-')}",
        "title": name.replace("_", " ").capitalize(),
        "gankit_version": ".".join(__version__.split(".")[:2]),
    }


def run_command(kind: Kind, name: str, location: str = "") -> str:
    """Return the text of a shell command that starts a run with a plugin, or that runs the command of a plugin.

    Args:
        kind: kind of the plugin.
        name: name of the plugin.
        location: path and class of a plugin that is not installed, such as `./file.py:Class`. Otherwise empty.
    """
    if kind == "command":
        return f"gankit {name} world"
    if kind in TRICK_KINDS or kind == "metric":
        table = f"{'metrics' if kind == 'metric' else 'tricks'}.{name}"
        setting = f"{table}.use={location}" if location else f"{table}={{}}"
    else:
        key = f"{kind}.generator" if kind in PLAYER_SLOTS else kind
        setting = f"{key}.use={location or name}"
    shorter = "" if kind in TRICK_KINDS else " train.iterations=100"
    other = {"extractor": " metrics.frechet_distance={}", "metric": " extractor=pixels"}.get(kind, "")
    return f"gankit run gaussian_ring {setting}{other}{shorter}"


def check_new(name: str, registry: Registry) -> None:
    """Raise InputError if another distribution already uses the plugin's name or the name of its module."""
    names = names_for(name)
    for entry in registry.entries:
        if entry.distribution == names["distribution"]:
            continue
        if entry.value.partition(":")[0].split(".")[0] == names["module"]:
            raise InputError(
                f"NAME: {name!r} given; {names['module']} is a module of {entry.distribution}; choose another name"
            )
        if entry.name == name:
            raise InputError(
                f"NAME: {name!r} given; {entry.distribution} has a plugin of kind {entry.kind or 'unknown'} with that "
                "name; choose another name"
            )


def write_file(name: str, folder: Path, kind: Kind = "trick") -> Path:
    """Write a new plugin to a single file, `folder/NAME.py`, and return the path of the file.

    Raises:
        InputError: the file exists already, or a Python module has the same name as the plugin.
    """
    names, path = names_for(name, kind), folder / f"{name}.py"
    if path.exists():
        raise InputError(f"{path}: exists already; choose another name, or remove it")
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise InputError(f"NAME: {name!r} given; {path} would hide the module {name}; choose another name")
    write_text(path, _filled(f"plugins/{kind}.py.template", names))
    return path


def write_package(name: str, folder: Path, kind: Kind = "trick") -> list[Path]:
    """Write a new plugin package into `folder` and return the paths of its files. The folder may exist already.

    Raises:
        InputError: one of the files exists already.
    """
    names = names_for(name, kind)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose another --out, or remove it")
    paths = {folder / place.format(**names): template.format(**names) for place, template in PACKAGE.items()}
    for path in paths:
        if path.exists():
            raise InputError(f"{path}: exists already; choose another name or --out, or remove it")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Write all files to a temporary folder before moving them into the package. If the disk becomes full during
        # writing, no incomplete package is left.
        with TemporaryDirectory(dir=folder, prefix=TEMPORARY) as temporary:
            for number, template in enumerate(paths.values()):
                (Path(temporary) / str(number)).write_text(_filled(template, names), encoding="utf-8")
            for number, path in enumerate(paths):
                path.parent.mkdir(parents=True, exist_ok=True)
                (Path(temporary) / str(number)).rename(path)
    return list(paths)


def _filled(template: str, names: dict[str, str]) -> str:
    text = files("gankit.scaffold").joinpath(template).read_text(encoding="utf-8")
    return Template(text).substitute(names)
