"""Information about plugin classes, read from source files without importing the plugins.

`gankit list-plugins` shows the docstring and the hook points of each plugin. The command reads this information from
the source, because importing the plugins would run their code and import torch, which is slow. Values that exist only
when the code runs, such as a class that a function call creates, are treated as unknown.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gankit.errors import PluginError

_UNKNOWN = object()
"""Placeholder for a value that is unknown, because it is not a literal in the source."""

MAX_HOPS = 8
"""Maximum number of imports that are followed to find a class.

The limit ends the search if imports are circular.
"""


@dataclass
class ScannedClass:
    """Information about a class and its base classes, read from their source.

    Base classes whose source cannot be read are left out.
    """

    name: str

    is_plugin: bool = False
    """True if the class inherits from `gankit.Plugin`."""

    summary: str = ""
    """First line of the class's docstring."""

    constants: dict[str, Any] = field(default_factory=dict)
    """Class attributes with literal values, such as `kind = "loss"`."""

    hooks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Hooks of the class: the name of each hook method, and the names of its arguments."""


@dataclass(frozen=True)
class _Module:
    name: str
    text: str
    names: dict[str, ast.ClassDef | tuple[str, str]]
    """Syntax trees of the module's classes, and origins of the module's imports, by name.

    The origin of an import is a tuple: the module from which an object is imported, and the object's name in that
    module. If the object is the module itself, the second item is `""`.
    """


class ClassScanner:
    """Scanner that reads information about classes from the source files of installed packages.

    Args:
        packages: top-level packages whose files are read. Base classes from other packages, such as torch, are treated
            as unknown.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = {"gankit", *packages}
        self._modules: dict[str, _Module | None] = {}

    def of(self, value: str) -> ScannedClass | None:
        """Return information about the class of an entry point, such as `package.module:Class`.

        Return None if the class is not found in the source, for example because the module is compiled.

        Raises:
            PluginError: the module or the class does not exist, or a file is not valid Python.
        """
        module_name, _, name = value.partition(":")
        located = self._find(module_name, name.split("."))
        if located is None:
            module = self._module(module_name)
            sources = (name.partition(".")[0], "import *", "__getattr__", "globals", "exec")
            # If the source contains one of these words, the class may exist although the scanner did not find it.
            # Search for whole words, because the word `HingeLoss` does not mean that there is a class `Loss`.
            pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, sources))})(?!\w)"
            if module is not None and re.search(pattern, module.text) is None:
                raise PluginError(f"{module_name} has no class {name!r}")
            return None
        scanned = ScannedClass(name, summary=(ast.get_docstring(located[1]) or "").partition("\n")[0])
        constants_known = True
        for module, definition in self._with_bases(*located):
            if definition is None:
                # A base class without readable source may set any attribute, and its attributes take precedence over
                # those of later base classes. Therefore, the attributes of later base classes are ignored.
                constants_known = False
                continue
            scanned.is_plugin |= (module.name, definition.name) == ("gankit.plugin.base", "Plugin")
            for hook, arguments in _hooks(definition):
                scanned.hooks.setdefault(hook, arguments)
            for constant, literal in _constants(definition) if constants_known else ():
                scanned.constants.setdefault(constant, literal)
        scanned.constants = {n: v for n, v in scanned.constants.items() if v is not _UNKNOWN}
        return scanned

    def _with_bases(
        self, module: _Module, definition: ast.ClassDef, seen: frozenset[str] = frozenset()
    ) -> Iterator[tuple[_Module, ast.ClassDef | None]]:
        """Yield a class and its base classes, depth first. Yield None for a base class without readable source."""
        yield module, definition
        place = f"{module.name}:{definition.name}"
        for base in definition.bases:
            expression = base.value if isinstance(base, ast.Subscript) else base
            path = ast.unparse(expression)
            located = self._find(module.name, path.split("."))
            if located is not None and place not in seen:
                yield from self._with_bases(*located, seen | {place})
            elif located is None and path != "object":
                yield module, None

    def _find(self, module_name: str, path: list[str], hops: int = MAX_HOPS) -> tuple[_Module, ast.ClassDef] | None:
        """Return the class that a dotted name, such as `nets.Generator`, refers to in a module. Also return its module.

        Return None if the class is not found. `path` contains the parts of the name: `["nets", "Generator"]`.
        """
        if not hops or not path or module_name.partition(".")[0] not in self.packages:
            return None
        module = self._module(module_name)
        target = module.names.get(path[0]) if module is not None else None
        if module is None or target is None:
            return None
        if isinstance(target, ast.ClassDef):
            return (module, target) if len(path) == 1 else None
        origin, name = target
        return self._find(origin, [name, *path[1:]] if name else path[1:], hops - 1)

    def _module(self, name: str) -> _Module | None:
        if name not in self._modules:
            self._modules[name] = _parse(name)
        return self._modules[name]


def _parse(name: str) -> _Module | None:
    """Parse the source of a module. Return None if there is no Python source, for example for a compiled module."""
    spec = spec_without_import(name)
    if spec is None:
        raise PluginError(f"there is no module {name}")
    if not spec.origin or not spec.origin.endswith(".py"):
        return None
    try:
        data = Path(spec.origin).read_bytes()
        tree = ast.parse(data)
    except OSError:
        return None
    except (SyntaxError, ValueError) as error:
        raise PluginError(f"{spec.origin} is not valid Python: {error}") from error
    names: dict[str, ast.ClassDef | tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
            try:
                module = importlib.util.resolve_name(origin, package) if node.level and package else origin
            except ImportError:
                # This relative import goes beyond the top-level package, so it fails. Do not report it, because the
                # module may catch the ImportError.
                continue
            names |= {alias.asname or alias.name: (module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
    names |= {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return _Module(name, data.decode(errors="replace"), names)


def spec_without_import(module: str) -> importlib.machinery.ModuleSpec | None:
    """Return the import spec of a module, or None if there is no such module.

    Unlike `importlib.util.find_spec`, this function does not import the parent packages.
    """
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
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
            continue
        value = statement.value
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            names, values = [target], [value]
            if isinstance(target, ast.Tuple):  # for example: name, kind = "hinge", "loss"
                names = target.elts
                values = value.elts if isinstance(value, ast.Tuple) else [value] * len(names)
            for one, literal in zip(names, values, strict=False):
                if isinstance(one, ast.Name):
                    yield one.id, literal.value if isinstance(literal, ast.Constant) else _UNKNOWN


def _hooks(definition: ast.ClassDef) -> Iterator[tuple[str, tuple[str, ...]]]:
    for method in definition.body:
        if isinstance(method, ast.FunctionDef):
            calls = [d.func if isinstance(d, ast.Call) else d for d in method.decorator_list]
            decorators = [ast.unparse(call).rpartition(".")[2] for call in calls]
            if "hookimpl" in decorators:
                arguments = [a.arg for a in [*method.args.posonlyargs, *method.args.args]]
                yield method.name, tuple(arguments[0 if "staticmethod" in decorators else 1 :])
