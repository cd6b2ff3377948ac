"""Component of a recipe: a plugin class and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gankit.errors import PluginError
from gankit.plugin.base import Plugin, Settings
from gankit.plugin.registry import ResolvedPlugin
from gankit.plugin.slots import Kind


@dataclass(frozen=True)
class Component:
    """One plugin of a recipe, with its key and its validated settings."""

    key: str
    """Key of the plugin: the name of its table in the recipe, such as `generator` or `optimizer.discriminator`."""

    kind: Kind
    use: str
    plugin_class: type[Plugin]
    config: Settings
    resolved: ResolvedPlugin

    def build(self) -> Plugin:
        """Create an instance of the plugin. Raise PluginError if its `__init__` does not call `Plugin.__init__`."""
        plugin = self.plugin_class(self.config)
        if not hasattr(plugin, "config"):
            raise PluginError(f"{self.plugin_class.__name__}.__init__ does not call super().__init__(config)")
        return plugin

    def to_dict(self) -> dict[str, Any]:
        """Return the plugin's recipe table as a dict, with default values and without settings that are None."""
        return {"use": self.use, **self.config.model_dump(mode="json", exclude_none=True)}
