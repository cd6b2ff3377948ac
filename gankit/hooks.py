"""pluggy in, plain callables out: the one place that knows how pluggy keeps its books.

pluggy calls the plugin registered last first and lets a `firstresult` hook choose silently. Here every hook
point is resolved once, at assembly, into callables in the order of the recipe.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from gankit import hookspecs
from gankit.errors import PluginError
from gankit.plugin import Player, Plugin


@dataclass(frozen=True)
class Implementation:
    """One plugin's answer to one hook point."""

    key: str
    """Where the plugin stands in the recipe: `tricks.instance_noise`."""

    call: Callable[..., Any]
    """Takes all of the hook point's arguments, in order."""


class Hooks:
    """The active plugins of one run, hook point by hook point.

    Args:
        plugins: instances by their place in the recipe, in the recipe's order.

    Raises:
        PluginError: a hook's name is misspelt, or it takes an argument that its hook point does not have.
    """

    def __init__(self, plugins: dict[str, Plugin]) -> None:
        manager = pluggy.PluginManager("gankit")
        manager.add_hookspecs(hookspecs)
        order = {id(plugin): position for position, plugin in enumerate(plugins.values())}
        for key, plugin in plugins.items():
            try:
                manager.register(plugin, name=key)
            except pluggy.PluginValidationError as error:
                raise PluginError(_why_refused(key, plugin, error)) from error
            for name in hookspecs.KIND_OF_HOOK:
                if callable(method := getattr(plugin, name, None)) and not hasattr(method, "gankit_impl"):
                    raise PluginError(f"{key}: {name} is not marked as a hook, and would never be called: @hookimpl")
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(_why_refused(str(manager.get_name(error.plugin)), error.plugin, error)) from error
        self._implementations: dict[str, list[Implementation]] = {}
        for name in hookspecs.KIND_OF_HOOK:
            caller = getattr(manager.hook, name)
            found = sorted(caller.get_hookimpls(), key=lambda impl: order[id(impl.plugin)])
            for impl in found:
                if impl.wrapper or impl.hookwrapper or impl.tryfirst or impl.trylast:
                    raise PluginError(
                        f"{impl.plugin_name}: {name} asks pluggy for an order of its own; the recipe's order is "
                        "the only one: write @hookimpl without options"
                    )
            assert caller.spec is not None
            arguments = caller.spec.argnames
            self._implementations[name] = [
                Implementation(impl.plugin_name, _taking(arguments, impl.argnames, impl.function)) for impl in found
            ]

    def of(self, name: str, player: Player | None = None) -> list[Implementation]:
        """The implementations of a hook point, in the order of the recipe.

        With a player, a plugin that stands in the other player's slot (`optimizer.generator`) is left out.
        """
        found = self._implementations[name]
        if player is None:
            return found
        other = ".discriminator" if player == "generator" else ".generator"
        return [i for i in found if i.key.startswith("tricks.") or not i.key.endswith(other)]

    def calls(self, name: str) -> list[Callable[..., Any]]:
        return [implementation.call for implementation in self.of(name)]

    def event(self, name: str) -> Callable[..., None]:
        """One callable that calls everyone."""
        calls = self.calls(name)

        def everyone(*arguments: Any) -> None:
            for call in calls:
                call(*arguments)

        return everyone

    def collect(self, name: str, *arguments: Any, player: Player | None = None) -> list[Any]:
        """Everyone's answer, without the Nones."""
        return [answer for i in self.of(name, player) if (answer := i.call(*arguments)) is not None]

    def one(self, name: str, *arguments: Any, player: Player | None = None) -> Any:
        """The answer of exactly one plugin.

        Raises PluginError when nobody answers or two do.
        """
        answer = self.one_or_none(name, *arguments, player=player)
        if answer is None:
            asked = ", ".join(i.key for i in self.of(name, player)) or "no plugin of the recipe has it"
            raise PluginError(f"{name} must be answered by one plugin, and is by none ({asked})")
        return answer

    def one_or_none(self, name: str, *arguments: Any, player: Player | None = None) -> Any:
        """The answer of at most one plugin, or None.

        Raises PluginError when two answer.
        """
        answers = [(i.key, answer) for i in self.of(name, player) if (answer := i.call(*arguments)) is not None]
        if len(answers) > 1:
            both = " and ".join(key for key, _ in answers)
            raise PluginError(f"{name} is answered by {both}; only one can: drop the others from the recipe")
        return answers[0][1] if answers else None

    def sole(self, name: str) -> Callable[..., Any] | None:
        """The callable of a hook point that at most one plugin may implement at all.

        Raises PluginError when two do.
        """
        found = self.of(name)
        if len(found) > 1:
            both = " and ".join(i.key for i in found)
            raise PluginError(f"{name} is implemented by {both}; only one can: drop the others from the recipe")
        return found[0].call if found else None


def hooks_of(plugin_class: type) -> list[str]:
    """The names of the hook points that a class implements, in the order of `hookspecs`."""
    return [name for name in hookspecs.KIND_OF_HOOK if hasattr(getattr(plugin_class, name, None), "gankit_impl")]


def check_hooks(plugin_class: type[Plugin], label: str) -> None:
    """Looks at a class's hooks without an instance, which may need settings that nobody has given.

    Raises PluginError, led by the label, when a hook's name is misspelt or an argument is not the hook point's.
    """
    Hooks({label: plugin_class})  # type: ignore[dict-item]  # pluggy reads a class as it reads an instance


def _taking(given: Sequence[str], wanted: Sequence[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which wants some of the arguments, as a callable that takes all that are given."""
    if tuple(wanted) == tuple(given):
        return function
    positions = [given.index(name) for name in wanted]
    if len(positions) == 1:
        only = positions[0]
        return lambda *arguments: function(arguments[only])
    return lambda *arguments: function(*[arguments[p] for p in positions])


def _why_refused(key: str, plugin: Any, error: pluggy.PluginValidationError) -> str:
    plugin_class = plugin if inspect.isclass(plugin) else type(plugin)
    for name in dir(plugin_class):
        method = getattr(plugin_class, name, None)
        if hasattr(method, "gankit_impl") and name not in hookspecs.KIND_OF_HOOK:
            close = difflib.get_close_matches(name, hookspecs.KIND_OF_HOOK, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "gankit.hookspecs has them all"
            return f"{key}: {plugin_class.__name__} marks {name!r} as a hook, and there is no such hook; {hint}"
    return f"{key}: {plugin_class.__name__} does not fit its hook point: {' '.join(str(error).split())}"
