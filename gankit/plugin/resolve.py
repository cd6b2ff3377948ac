"""From a resolved class to a plugin class that fits its place in a recipe."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gankit.errors import PluginError
from gankit.plugin.base import Settings
from gankit.plugin.registry import Found
from gankit.plugin.slots import KINDS, Kind
from gankit.version import API_VERSION, __version__

if TYPE_CHECKING:
    from gankit.plugin.base import Plugin


def check_api_version(version: Any, use: str, distribution: str) -> None:
    """Raises PluginError for a plugin that wants hook points of a later gankit, or says no version at all."""
    if type(version) is not int:
        raise PluginError(f"{use}: its api_version is {version!r}; a whole number is wanted, gankit.API_VERSION")
    if version > API_VERSION:
        raise PluginError(
            f"{use} is written for version {version} of gankit's hook points, and gankit {__version__} has "
            f"version {API_VERSION}; `pip install -U gankit`, or take an older one of {distribution or 'it'}"
        )


def as_plugin_class(found: Found, kind: Kind) -> type[Plugin]:
    """The plugin class for a place of this kind; a plain `nn.Module` is wrapped as one, as a network or
    an extractor.

    Raises PluginError for a class that does not belong there.
    """
    plugin_class = found.found
    if not issubclass(plugin_class, Plugin):
        from torch import nn

        if issubclass(plugin_class, nn.Module):
            from gankit.plugin.module_adapter import BASES, module_plugin

            if kind in BASES:
                return module_plugin(plugin_class, kind)
        raise PluginError(f"{found.use} is not a subclass of gankit.Plugin")
    check_api_version(plugin_class.api_version, found.use, found.distribution)
    if not isinstance(getattr(plugin_class, "name", None), str):
        raise PluginError(f'{found.use} has no name: write name = "..." in the class')
    if plugin_class.kind not in KINDS:
        raise PluginError(f"{found.use} is of kind {plugin_class.kind!r}; {', '.join(KINDS)} exist")
    if plugin_class.kind != kind:
        raise PluginError(f"{found.use} is a plugin for {plugin_class.kind}, not for {kind}")
    if not inspect.isclass(plugin_class.Config) or not issubclass(plugin_class.Config, Settings):
        raise PluginError(f"{found.use}: its Config is not a subclass of gankit.Settings")
    return plugin_class
