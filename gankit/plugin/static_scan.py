"""What the source of a plugin says of itself: read, and never run.

A list of all that is installed should run nobody's code and wait for no torch. So the files are parsed, and what
stands there in plain words is taken: a class's docstring, its name and kind, the methods marked `@hookimpl`. What
code would have to be run for (a class made by a call, a hook added by a decorator) stays unknown.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gankit.errors import PluginError

_UNKNOWN = object()
"""In place of a value that only running the code would tell."""


@dataclass
class ScannedClass:
    """A class, with what it inherits from classes that could be read too."""

    name: str
    """Of the class itself."""

    is_plugin: bool = False
    """It inherits from `gankit.Plugin`."""

    whole: bool = True
    """False when a base class could not be read, so that more may be inherited than is known."""

    summary: str = ""
    """The first line of its own docstring."""

    constants: dict[str, Any] = field(default_factory=dict)
    """Class attributes that are written as plain values: `kind = "loss"`. Those that a base class which could not be
    read may have set otherwise are left out."""

    hooks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The methods marked as hooks, and the arguments that each takes."""


@dataclass(frozen=True)
class _Source:
    """A module's file, parsed."""

    module: str
    is_package: bool
    tree: ast.Module

    def class_called(self, name: str) -> ast.ClassDef | None:
        return next((n for n in self.tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)

    def may_have(self, name: str) -> bool:
        """Whether the module may offer a name: written there in any way, or brought by what only running would tell."""
        for node in ast.walk(self.tree):
            names = [node.name] if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else []
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
            if isinstance(node, ast.Name):
                names = [node.id]
            if {name, "*", "__getattr__", "globals", "exec"} & set(names):
                return True
        return False

    def imported_from(self, name: str) -> tuple[str, str] | None:
        """The module from which a name was imported, and what it is called there."""
        for statement in ast.walk(self.tree):
            if isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    if (alias.asname or alias.name) == name:
                        return self._absolute(statement), alias.name
        return None

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        parts = self.module.split(".")
        parts = parts[: len(parts) - statement.level + self.is_package]
        return ".".join([*parts, *([statement.module] if statement.module else [])])


class ClassScanner:
    """Reads classes out of installed modules.

    Args:
        packages: the top-level packages whose files may be read. Base classes from elsewhere (torch's) are left out.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = {"gankit", *packages}
        self._sources: dict[str, _Source | None] = {}

    def of(self, value: str) -> ScannedClass | None:
        """The class that an entry point such as `package.module:Class` leads to; None when no source shows it.

        Raises PluginError when there is no such module, or it is no Python.
        """
        module, _, name = value.partition(":")
        if (found := self._find(module, name)) is None:
            if (lacking := self._read(module)) is not None and not lacking.may_have(name.partition(".")[0]):
                raise PluginError(f"{module} has no class {name!r}")
            return None
        source, definition = found
        outline = ScannedClass(name, summary=(ast.get_docstring(definition) or "").partition("\n")[0])
        self._inherit(outline, source, definition, {(source.module, name)})
        outline.constants = {name: value for name, value in outline.constants.items() if value is not _UNKNOWN}
        return outline

    def _inherit(
        self, outline: ScannedClass, source: _Source, definition: ast.ClassDef, seen: set[tuple[str, str]]
    ) -> None:
        """Adds what a class has and its bases have, the nearest first."""
        for name, value in _constants(definition) if outline.whole else ():
            outline.constants.setdefault(name, value)
        for name, arguments in _hooks(definition):
            outline.hooks.setdefault(name, arguments)
        outline.is_plugin |= (source.module, definition.name) == ("gankit.plugin.base", "Plugin")
        for base in definition.bases:
            found = self._find_base(source, base)
            if found is None:
                outline.whole &= isinstance(base, ast.Name) and base.id == "object"
            elif (place := (found[0].module, found[1].name)) not in seen:
                self._inherit(outline, *found, seen | {place})

    def _find_base(self, source: _Source, base: ast.expr) -> tuple[_Source, ast.ClassDef] | None:
        if isinstance(base, ast.Subscript):
            base = base.value
        if isinstance(base, ast.Name):
            return self._find(source.module, base.id)
        if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
            for statement in ast.walk(source.tree):
                if isinstance(statement, ast.Import):
                    for alias in statement.names:
                        if (alias.asname or alias.name) == base.value.id:
                            return self._find(alias.name, base.attr)
        return None

    def _find(self, module: str, name: str, hops: int = 8) -> tuple[_Source, ast.ClassDef] | None:
        """A class by the module that has it or imports it."""
        if module.partition(".")[0] not in self.packages or (source := self._read(module)) is None:
            return None
        if (definition := source.class_called(name)) is not None:
            return source, definition
        imported = source.imported_from(name)
        return self._find(*imported, hops - 1) if imported is not None and hops else None

    def _read(self, module: str) -> _Source | None:
        if module not in self._sources:
            self._sources[module] = _parsed(module)
        return self._sources[module]


def _parsed(module: str) -> _Source | None:
    """A module's source; None when it has none (compiled, or in an archive).

    Raises PluginError when there is no such module, or it is no Python.
    """
    spec = spec_without_import(module)
    if spec is None:
        raise PluginError(f"there is no module {module}")
    if not spec.origin or not spec.origin.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except OSError:
        return None
    except (SyntaxError, ValueError) as error:
        raise PluginError(f"{spec.origin} is no Python: {error}") from error
    return _Source(module, spec.submodule_search_locations is not None, tree)


def spec_without_import(module: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is. `importlib.util.find_spec` would import the packages around it."""
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for depth in range(len(inner)):
            if spec is None or spec.submodule_search_locations is None:
                return None
            name = ".".join([top, *inner[: depth + 1]])
            spec = importlib.machinery.PathFinder.find_spec(name, spec.submodule_search_locations)
    except (ImportError, ValueError):
        return None
    return spec


def _constants(definition: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            pairs: list[tuple[ast.expr, ast.expr]] = [(statement.target, statement.value)]
        elif isinstance(statement, ast.Assign):
            pairs = [pair for target in statement.targets for pair in _unpacked(target, statement.value)]
        else:
            continue
        for target, value in pairs:
            if isinstance(target, ast.Name):
                yield target.id, value.value if isinstance(value, ast.Constant) else _UNKNOWN
            elif isinstance(target, ast.Tuple):
                yield from ((name.id, _UNKNOWN) for name in target.elts if isinstance(name, ast.Name))


def _unpacked(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """`name, kind = "bare", "latent"` is two assignments."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _hooks(definition: ast.ClassDef) -> Iterator[tuple[str, tuple[str, ...]]]:
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef):
            for decorator in statement.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                marker = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if marker == "hookimpl":
                    arguments = [a.arg for a in [*statement.args.posonlyargs, *statement.args.args]]
                    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in statement.decorator_list)
                    yield statement.name, tuple(arguments if static else arguments[1:])
