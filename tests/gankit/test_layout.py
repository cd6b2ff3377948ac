"""Layout of the core: few modules at the top, imports in one direction only, and no circle of imports."""

import ast
import importlib.util
from importlib import metadata
from pathlib import Path

import pytest

import gankit

CORE = Path(gankit.__file__).parent

ROOMS = (
    "top",
    "cli",
    "scaffold",
    "ablation",
    "api",
    "report",
    "testing",
    "explanation",
    "training",
    "evaluation",
    "sampling",
    "data",
    "images",
    "storage",
    "recipe",
    "plugin",
    "runtime",
    "base",
)
"""Folders, and modules directly in gankit, from top to bottom. A room imports only from rooms below it."""

MODULES = {"gankit": "top", "pytest_plugin": "top", "__main__": "top", "api": "api"} | dict.fromkeys(
    ("errors", "suggest", "formatting", "version"), "base"
)
"""Room of each module directly in gankit."""

ONLY = {"scaffold": {"plugin", "storage", "base"}}
"""Rooms with fewer imports than their floor allows."""


def module_name(path: Path) -> str:
    parts = path.relative_to(CORE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    name = module.removeprefix("gankit.").partition(".")[0]
    return MODULES.get(name, name)


def imports_of(source: str, modules: set[str]) -> set[str]:
    """Return the modules among `modules` that a source imports, also in functions and type-checking blocks."""
    targets = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            targets |= full & modules or {node.module}
    return targets & modules


SOURCES = {module_name(path): path.read_text(encoding="utf-8") for path in sorted(CORE.rglob("*.py"))}
IMPORTS = {module: imports_of(source, set(SOURCES)) for module, source in SOURCES.items()}


def wrong_imports(imports: dict[str, set[str]]) -> list[str]:
    """Return the imports that lead to a room above, or to one that the importing room must not use."""
    return [
        f"{module} imports {target}"
        for module, targets in imports.items()
        for target in sorted(targets)
        if (own := room(module)) != (other := room(target))
        and (ROOMS.index(other) < ROOMS.index(own) or other not in ONLY.get(own, ROOMS))
    ]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules that are part of a circle of imports, or lead to one."""
    left = dict(imports)
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        left = {module: targets for module, targets in left.items() if module not in free}
    return sorted(left)


def test_at_most_eight_modules_are_directly_in_gankit():
    assert len(list(CORE.glob("*.py"))) <= 8


def test_every_module_is_in_a_known_room():
    assert {room(module) for module in SOURCES} <= set(ROOMS)


def test_no_room_imports_from_a_room_above():
    assert wrong_imports(IMPORTS) == []


def test_no_circle_of_imports():
    assert circle(IMPORTS) == []


def test_wrong_imports_and_circles_are_detected():
    source = "def f():\n from gankit.cli import main\n from gankit import errors\n import gankit.data.batches\n"
    modules = {"gankit", "gankit.cli", "gankit.errors", "gankit.data.batches"}
    assert imports_of(source, modules) == modules - {"gankit"}
    wrong = {"gankit.data.batches": {"gankit.cli", "gankit.errors"}, "gankit.scaffold.x": {"gankit.data.batches"}}
    assert len(wrong_imports(wrong)) == 2
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


PLUGINS = [
    entry for entry in metadata.entry_points(group="gankit.plugins") if entry.module.startswith("gankit_plugins.")
]


@pytest.mark.skipif(importlib.util.find_spec("gankit_plugins") is None, reason="gankit_plugins is not installed")
def test_the_folder_the_entry_point_and_the_class_of_a_plugin_agree():
    assert len(PLUGINS) > 20
    for entry in PLUGINS:
        kind, _, name = entry.name.partition(".")
        plugin_class = entry.load()
        assert entry.module.split(".")[1] == kind, entry
        assert (plugin_class.kind, plugin_class.name) == (kind, name), entry
