"""Component of a recipe: one plugin with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gankit.errors import PluginError
from gankit.plugin.base import Plugin, Settings
from gankit.plugin.registry import ResolvedPlugin
from gankit.plugin.slots import Kind


@dataclass(frozen=True)
class Component:
    """Plugin at a key of the recipe, with its validated settings."""

    key: str
    """Name of its table in the recipe, such as `generator`, `optimizer.discriminator` or `tricks.instance_noise`."""

    kind: Kind
    use: str
    plugin_class: type[Plugin]
    config: Settings
    resolved: ResolvedPlugin

    def build(self) -> Plugin:
        """Return a new instance of the plugin. Raise PluginError if its `__init__` does not call that of `Plugin`."""
        plugin = self.plugin_class(self.config)
        if not hasattr(plugin, "config"):
            raise PluginError(f"{self.plugin_class.__name__}.__init__ does not call super().__init__(config)")
        return plugin

    def to_dict(self) -> dict[str, Any]:
        """Return the table of the recipe, with all defaults."""
        return {"use": self.use, **self.config.model_dump(mode="json", exclude_none=True)}
