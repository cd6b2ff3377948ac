"""Functions that check the classes that a recipe refers to, and convert them to plugin classes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gankit.errors import PluginError
from gankit.plugin.registry import ResolvedPlugin
from gankit.plugin.slots import KINDS, Kind
from gankit.suggest import RENAMED, nearest, new_name
from gankit.version import API_VERSION, __version__

if TYPE_CHECKING:
    from gankit.plugin.base import Plugin


def check_api_version(version: Any, use: str, distribution: str) -> None:
    """Check the attribute `api_version` of a plugin: the version of gankit's hook points that the plugin needs.

    Raises:
        PluginError: the version is not an integer, or it is newer than `gankit.API_VERSION`.
    """
    if type(version) is not int:
        raise PluginError(f"{use}: api_version is {version!r}; it must be a whole number such as gankit.API_VERSION")
    if version > API_VERSION:
        raise PluginError(
            f"{use} needs version {version} of the hook points, and gankit {__version__} has version {API_VERSION}; "
            f"`pip install -U gankit`, or install an older version of {distribution or 'the plugin'}"
        )


def as_plugin_class(resolved: ResolvedPlugin, kinds: tuple[Kind, ...]) -> type[Plugin]:
    """Check a class that a recipe refers to, and return it as a plugin class.

    A plain `nn.Module` is wrapped in a plugin class if a generator, discriminator or extractor is expected.

    Args:
        kinds: kinds of plugin that are allowed in the recipe table that refers to the class.

    Raises:
        PluginError: the class is not a valid plugin of one of these kinds.
    """
    # This import is inside the function, because `gankit list-plugins` checks versions without importing pydantic.
    from gankit.plugin.base import Plugin, Settings

    plugin_class = resolved.target
    if not issubclass(plugin_class, Plugin):
        # This import is inside the function, because most recipes can be read without importing torch.
        from torch import nn

        from gankit.plugin.module_adapter import BASES, module_plugin

        if issubclass(plugin_class, nn.Module) and kinds[0] in BASES:
            return module_plugin(plugin_class, kinds[0])
        raise PluginError(f"{resolved.use} is not a subclass of gankit.Plugin")
    check_api_version(plugin_class.api_version, resolved.use, resolved.distribution)
    if not isinstance(getattr(plugin_class, "name", None), str):
        raise PluginError(f'{resolved.use} has no name; write name = "..." in the class')
    for old in RENAMED.keys() & dir(plugin_class):
        # Without this check, gankit would silently ignore a class attribute that still has its former name. Methods
        # are not checked, because a plugin may use a former name for its own method.
        if not callable(getattr(plugin_class, old)) and (new := new_name(old, vars(Plugin))) is not None:
            raise PluginError(f"{resolved.use}: the class attribute {old} is called {new} now; rename it")
    if plugin_class.kind not in KINDS:
        raise PluginError(
            f"{resolved.use} is of kind {plugin_class.kind!r}; {nearest(plugin_class.kind, KINDS)}"
            f"the kinds are {', '.join(KINDS)}"
        )
    if plugin_class.kind not in kinds:
        raise PluginError(f"{resolved.use} is a plugin for {plugin_class.kind}, not for {' or '.join(kinds)}")
    if not inspect.isclass(plugin_class.Config) or not issubclass(plugin_class.Config, Settings):
        raise PluginError(f"{resolved.use}: Config is not a subclass of gankit.Settings")
    return plugin_class
