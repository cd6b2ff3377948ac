"""Registry of installed plugins. The registry is built from entry points, without importing the plugins.

Entry points in the group `gankit.plugins` are named `kind.name`, such as `optimizer.adam`. The kind is therefore known
before the plugin is imported. If the name contains no kind, the attribute `kind` of the plugin class is used.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.utils import canonicalize_name

from gankit.errors import PluginError
from gankit.plugin.slots import KINDS, NAMED_TABLES, PLAYER_SLOTS, Kind
from gankit.suggest import nearest

GROUP = "gankit.plugins"


@dataclass(frozen=True)
class Entry:
    """Entry point of one installed plugin."""

    kind: str | None
    """Kind of the plugin, such as `optimizer`. None if the name of the entry point does not contain a kind."""

    name: str
    distribution: str
    version: str
    value: str
    """Import path of the plugin class, such as `package.module:Class`."""

    @property
    def label(self) -> str:
        """Full name of the entry point: `kind.name`, or only `name` if there is no kind."""
        return f"{self.kind}.{self.name}" if self.kind else self.name

    def load(self) -> type:
        """Import and return the plugin class.

        Raises:
            PluginError: the import fails, or the imported object is not a class.
        """
        try:
            target = metadata.EntryPoint(self.label, self.value, GROUP).load()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise PluginError(
                f"plugin {self.label!r} of {self.distribution} {self.version} cannot be imported from "
                f"{self.value}: {_cause(error)}"
            ) from error
        if not inspect.isclass(target):
            raise PluginError(
                f"plugin {self.label!r} of {self.distribution} {self.version}: {self.value} is not a class"
            )
        return target


@dataclass(frozen=True)
class ResolvedPlugin:
    """Plugin class that the setting `use` of a recipe refers to, with its distribution, version and import path."""

    target: type
    use: str
    """Value of `use` in the recipe. If the value contains a path to a file, this path is absolute."""

    distribution: str
    version: str
    origin: str
    """Import path of the class: `package.module:Class`, or `FILE:Class`, where FILE is an absolute path."""

    @property
    def source_digest(self) -> str:
        """SHA-256 hash of the class's source file, in hexadecimal. Empty if there is no source file."""
        file = getattr(sys.modules.get(self.target.__module__), "__file__", None)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and os.path.isfile(file) else ""


class Registry:
    """Registry of the plugins that recipes can refer to by name."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = sorted(entries, key=lambda e: (e.kind or "", e.name, e.distribution))

    @classmethod
    def installed(cls) -> Registry:
        """Return the registry of all installed plugins."""
        return cls(_installed_entries())

    def named(self, name: str, kinds: tuple[Kind, ...]) -> list[Entry]:
        """Return the entry points of all plugins called `name` that have one of the given kinds.

        If there are no such plugins, return the entry points called `name` that have no kind.
        """
        exact = [e for e in self.entries if e.name == name and e.kind in kinds]
        return exact or [e for e in self.entries if e.name == name and e.kind is None]

    def version_of(self, distribution: str) -> str | None:
        """Return the installed version of a distribution, or None if it is not installed."""
        if entries := _from(self.entries, distribution):
            return entries[0].version
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return None

    def names(self, *kinds: Kind) -> list[str]:
        """Return the sorted names of all plugins that have one of the given kinds.

        Plugins whose entry point contains no kind are also included, because their kind is not known before the import.
        """
        return sorted({e.name for e in self.entries if e.kind in (*kinds, None)})

    def find(self, use: str, kinds: tuple[Kind, ...], folder: Path, recorded: str = "") -> ResolvedPlugin:
        """Return the plugin class that a value of `use` in a recipe refers to.

        Args:
            use: `name`, `name@distribution`, `./file.py:Class` or `package.module:Class`.
            kinds: kinds of plugin that are allowed in the recipe table with this `use`.
            folder: folder of the recipe. Relative paths in `use` are relative to this folder.
            recorded: distribution that provided the plugin in an earlier run. This distribution is preferred if several
                distributions have a plugin of this name.

        Raises:
            PluginError: the class does not exist or cannot be imported, or several distributions have a plugin
                of this name.
        """
        location, colon, class_name = use.rpartition(":")
        if colon and location.endswith(".py"):
            return _from_file(folder / location, class_name)
        if colon:
            return _from_module(location, class_name)
        name, _, distribution = use.partition("@")
        candidates = self.named(name, kinds)
        if distribution:
            candidates = _from(candidates, distribution)
        elif recorded and len(candidates) > 1:
            candidates = _from(candidates, recorded) or candidates
        if not candidates:
            raise PluginError(self._why_missing(name, distribution, kinds))
        if len(candidates) > 1:
            offers = " or ".join(f'"{name}@{e.distribution}"' for e in candidates)
            raise PluginError(
                f"{len(candidates)} distributions provide a {kinds[0]} called {name!r}; choose one with use = {offers}"
            )
        entry = candidates[0]
        return ResolvedPlugin(entry.load(), use, entry.distribution, entry.version, entry.value)

    def _why_missing(self, name: str, distribution: str, kinds: tuple[Kind, ...]) -> str:
        kind = kinds[0]
        if distribution and self.version_of(distribution) is None:
            return f"{distribution} is not installed; try `pip install {distribution}`"
        if distribution:
            names = sorted({e.name for e in _from(self.entries, distribution) if e.kind in (*kinds, None)})
            instead = f"{nearest(name, names)}it has {', '.join(names)}" if names else "it has none"
            return f"{distribution} has no {kind} called {name!r}; {instead}"
        for entry in self.entries:
            if entry.name == name and entry.kind not in (*KINDS, None):
                kinds_hint = f"{nearest(str(entry.kind), KINDS)}the kinds are {', '.join(KINDS)}"
                return (
                    f"{entry.distribution} provides {entry.label!r}, but there is no kind {entry.kind!r}; {kinds_hint}"
                )
        other = sorted({e.kind for e in self.entries if e.name == name and e.kind})
        if other:
            places = " or ".join(f"{place}={name}" for o in other for place in _places(o))
            instead = f" (write {places})" if places else ""
            return f"{name!r} is a plugin for {' and '.join(other)}, not for {kind}{instead}; {self._choices(kinds)}"
        return f"no {kind} called {name!r} is installed; {nearest(name, self.names(*kinds))}{self._choices(kinds)}"

    def _choices(self, kinds: tuple[Kind, ...]) -> str:
        names = self.names(*kinds)
        if not names:
            return "none is installed"
        if len(names) > 12:
            only = f" --kind {kinds[0]}" if len(kinds) == 1 else ""
            return f"`gankit list-plugins{only}` lists all"
        return f"installed: {', '.join(names)}"


def _from(entries: Iterable[Entry], distribution: str) -> list[Entry]:
    """Return the entry points of one distribution. The names `gankit_lecam` and `gankit-lecam` are equivalent."""
    canonical = canonicalize_name(distribution)
    return [entry for entry in entries if canonicalize_name(entry.distribution) == canonical]


def _cause(error: BaseException) -> str:
    """Return the error message for an exception that was raised during the import of a plugin."""
    # An ImportError that is not a ModuleNotFoundError means that gankit exists, but does not have the imported name.
    too_old = type(error) is ImportError and error.name == "gankit"
    hint = "; it may need a newer gankit: `pip install -U gankit`" if too_old else ""
    return f"{type(error).__name__}: {error}{hint}"


def _places(kind: str) -> list[str]:
    """Return the recipe keys that a plugin of this kind can have, such as `optimizer.generator`.

    The list is empty for plugins in `[tricks]` and `[metrics]`, because the user chooses their keys.
    """
    if kind in PLAYER_SLOTS:
        return [f"{kind}.generator", f"{kind}.discriminator"]
    listed = [one for kinds in NAMED_TABLES.values() for one in kinds]
    return [] if kind in (*listed, "command") else [kind]


def _installed_entries() -> list[Entry]:
    entries: dict[tuple[str, str], Entry] = {}
    for found in metadata.distributions():
        try:
            if not _plugin_points(found):
                # Read the metadata only of installed packages with plugins, because reading all metadata is slow.
                continue
            # Several copies of a distribution may be installed. Use the first copy on `sys.path`, because Python
            # imports from this copy.
            distribution = metadata.distribution(found.name)
            points = _plugin_points(distribution)
            owner, version = str(distribution.name), str(distribution.version)
        except Exception:  # for a broken package, the type of the error depends on the Python version
            continue
        for point in points:
            kind, _, name = point.name.rpartition(".")
            entry = Entry(kind or None, name, owner, version, point.value)
            entries[entry.label, entry.distribution] = entry
    return list(entries.values())


def _plugin_points(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    return [point for point in distribution.entry_points if point.group == GROUP]


def _from_file(path: Path, class_name: str) -> ResolvedPlugin:
    # Use os.path.isfile, because Path.is_file may raise an error for an invalid file name.
    if not os.path.isfile(path):
        raise PluginError(
            f"there is no file {path.absolute()}; a relative path starts at the folder of the file that names it"
        )
    path = path.resolve()
    target = _class_in(_module_of(path), class_name, str(path))
    return ResolvedPlugin(target, f"{path}:{class_name}", "", "", f"{path}:{class_name}")


def _module_of(path: Path) -> ModuleType:
    """Import a Python file and return its module. The file is imported again only if its content has changed.

    Files in the same folder may import each other by name. If a recipe also refers to such a file, the recipe and the
    import use the same module.
    """
    module_name = _name_of_file(path)
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The file may import modules from its own folder, so add this folder to `sys.path`. The folder comes last, so that
    # its modules do not hide installed modules of the same name.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    before = dict(sys.modules)
    sys.modules[module_name] = module
    if _file_of_import(path.stem) == path:
        sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        for name in [name for name, one in sys.modules.items() if one is module]:
            del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginError(f"{path} cannot be imported: {_cause(error)}") from error
    for name in sys.modules.keys() - before.keys():
        file = _file_of_import(name)
        if file is not None and file.parent == path.parent:
            sys.modules.setdefault(_name_of_file(file), sys.modules[name])
    return module


def _file_of_import(name: str) -> Path | None:
    """Return the path of the file that `import NAME` executes or has executed, or None if there is no such file."""
    if not name.isidentifier():
        return None
    spec = getattr(sys.modules[name], "__spec__", None) if name in sys.modules else importlib.util.find_spec(name)
    return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None


def _name_of_file(path: Path) -> str:
    """Return the module name for a Python file. The name depends on the path and the content of the file."""
    return f"gankit_file_{path.stem}_{hashlib.sha256(bytes(path) + path.read_bytes()).hexdigest()[:12]}"


def _from_module(module_name: str, class_name: str) -> ResolvedPlugin:
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginError(f"module {module_name!r} cannot be imported: {_cause(error)}") from error
    use = f"{module_name}:{class_name}"
    target = _class_in(module, class_name, module_name)
    distribution, version = _distribution_of(module_name)
    return ResolvedPlugin(target, use, distribution, version, use)


def _class_in(module: ModuleType, name: str, place: str) -> type:
    target: Any = getattr(module, name, None)
    if not inspect.isclass(target):
        classes = [n for n, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
        raise PluginError(
            f"{place} has no class {name!r}; {nearest(name, classes)}"
            f"it has {', '.join(classes) if classes else 'no class'}"
        )
    return target


def _distribution_of(module_name: str) -> tuple[str, str]:
    names = metadata.packages_distributions().get(module_name.partition(".")[0])
    return (names[0], metadata.version(names[0])) if names else ("", "")
