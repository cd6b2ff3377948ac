"""From the components of a recipe to plugins, hooks and networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from gankit.errors import PluginError, Problem, RecipeError
from gankit.plugin.base import Plugin, Settings
from gankit.plugin.hooks import Hooks
from gankit.plugin.registry import Found
from gankit.plugin.slots import Kind, Player
from gankit.plugin.spec import Spec
from gankit.recipe.toml import Raw
from gankit.training.run import Game


@dataclass(frozen=True)
class Part:
    """One plugin in its place in the recipe, with its validated settings."""

    key: str
    """The table: `generator`, `optimizer.discriminator`, `tricks.instance_noise`."""

    kind: Kind
    use: str
    plugin_class: type[Plugin]
    config: Settings
    found: Found

    def build(self) -> Plugin:
        plugin = self.plugin_class(self.config)
        if not hasattr(plugin, "config"):
            raise PluginError(f"{self.plugin_class.__name__}.__init__ does not call super().__init__(config)")
        return plugin

    def to_dict(self) -> Raw:
        return {"use": self.use, **self.config.model_dump(mode="json", exclude_none=True)}


class refusing:  # noqa: N801
    """A plugin's ValueError inside this block is the user's mistake at `key`, said in one sentence."""

    def __init__(self, source: str, key: str) -> None:
        self.source, self.key = source, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RecipeError) or not isinstance(error, ValueError):
            return
        raise RecipeError(self.source, [Problem(self.key, str(error))]) from error


def build_plugins(parts: dict[str, Part], source: str) -> tuple[dict[str, Plugin], Hooks]:
    """One instance of every plugin, in the recipe's order, and their hooks.

    Raises RecipeError when a plugin does not fit its hook points.
    """
    plugins = {}
    for key, part in parts.items():
        with refusing(source, key):
            plugins[key] = part.build()
    try:
        return plugins, Hooks(plugins)
    except PluginError as error:
        key, _, message = str(error).partition(": ")
        raise RecipeError(source, [Problem(key, message)]) from error


def build_network(hooks: Hooks, player: Player, spec: Spec, run: Game | None, source: str) -> nn.Module:
    """A player's network as the recipe has it, wrapped by every plugin that wraps.

    Raises RecipeError when nobody or several build it, or when what is built is refused.
    """
    hook = "build_generator" if player == "generator" else "build_discriminator"
    with refusing(source, player):
        own_spec = spec if player == "generator" else replace(spec, channels=spec.channels * spec.pack)
        network: nn.Module = hooks.one(hook, own_spec)
    for implementation in hooks.of("wrap_network", player):
        with refusing(source, implementation.key):
            wrapped = implementation.call(player, network, run)
        network = network if wrapped is None else wrapped
    return network
