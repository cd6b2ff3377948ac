"""pluggy in, plain callables out: the one place that knows how pluggy keeps its books.

pluggy calls the plugin registered last first and lets a `firstresult` hook choose silently. Here every hook
point is resolved once, at assembly, into callables in the order of the recipe.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from gankit.errors import PluginError
from gankit.plugin import hookspecs

if TYPE_CHECKING:
    from gankit.plugin.base import Plugin
    from gankit.plugin.slots import Player


@dataclass(frozen=True)
class Implementation:
    """One plugin's answer to one hook point."""

    key: str
    """Where the plugin stands in the recipe: `tricks.instance_noise`."""

    call: Callable[..., Any]
    """Takes all of the hook point's arguments, in order."""

    plugin: Plugin


class Hooks:
    """The active plugins of one run, hook point by hook point.

    Args:
        plugins: instances by their place in the recipe, in the recipe's order.

    Raises:
        PluginError: a hook's name is misspelt, or it takes an argument that its hook point does not have.
    """

    def __init__(self, plugins: dict[str, Plugin]) -> None:
        manager = _Manager("gankit")
        manager.add_hookspecs(hookspecs)
        order = {id(plugin): position for position, plugin in enumerate(plugins.values())}
        for key, plugin in plugins.items():
            _check_marks(key, _class_of(plugin))
            try:
                manager.register(plugin, name=key)
            except pluggy.PluginValidationError as error:
                raise PluginError(_why_refused(key, plugin, error)) from error
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(_why_refused(str(manager.get_name(error.plugin)), error.plugin, error)) from error
        self._implementations: dict[str, list[Implementation]] = {}
        for name in hookspecs.KIND_OF_HOOK:
            caller = getattr(manager.hook, name)
            found = sorted(caller.get_hookimpls(), key=lambda impl: order[id(impl.plugin)])
            assert caller.spec is not None
            arguments = caller.spec.argnames
            self._implementations[name] = [
                Implementation(impl.plugin_name, _taking(arguments, impl.argnames, impl.function), impl.plugin)
                for impl in found
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


class _Manager(pluggy.PluginManager):
    """One that looks for hooks on the class, and so runs no property of an instance that nobody has initialised."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        marked = hasattr(getattr(_class_of(plugin), name, None), "gankit_impl")
        return super().parse_hookimpl_opts(plugin, name) if marked else None


def hooks_of(plugin_class: type) -> list[str]:
    """The names of the hook points that a class implements, in the order of `hookspecs`."""
    return [name for name in hookspecs.KIND_OF_HOOK if hasattr(getattr(plugin_class, name, None), "gankit_impl")]


def check_hooks(plugin_class: type[Plugin], label: str) -> None:
    """Looks at a class's hooks without an instance, which may need settings that nobody has given.

    Raises PluginError, led by the label, when a hook's name is misspelt or an argument is not the hook point's.
    """
    Hooks({label: plugin_class.__new__(plugin_class)})


def _taking(given: Sequence[str], wanted: Sequence[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which wants some of the arguments, as a callable that takes all that are given."""
    if tuple(wanted) == tuple(given):
        return function
    positions = [given.index(name) for name in wanted]
    if len(positions) == 1:
        only = positions[0]
        return lambda *arguments: function(arguments[only])
    return lambda *arguments: function(*[arguments[p] for p in positions])


def _check_marks(key: str, plugin_class: type) -> None:
    """Raises PluginError for a hook that is not marked as one, or is marked with options that only pluggy knows."""
    for name in dir(plugin_class):
        method = getattr(plugin_class, name, None)
        options: dict[str, Any] = getattr(method, "gankit_impl", {})
        if not options and name in hookspecs.KIND_OF_HOOK and callable(method):
            raise PluginError(f"{key}: {name} is not marked as a hook, and would never be called: @hookimpl")
        if any(options.values()):
            asked = " and ".join(option for option, value in options.items() if value)
            raise PluginError(
                f"{key}: {name} asks pluggy for {asked}; the recipe's order is the only one, and a hook point is "
                "implemented under its own name: write @hookimpl without options"
            )
        for parameter in inspect.signature(method).parameters.values() if options and callable(method) else ():
            if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                raise PluginError(
                    f"{key}: {name}: arguments are passed by their place; write {parameter.name!r} without *"
                )
            if parameter.default is not parameter.empty:
                raise PluginError(
                    f"{key}: {name}: {parameter.name!r} has a default, and would always have it; leave it out"
                )


def _class_of(plugin: Any) -> type:
    return plugin if inspect.isclass(plugin) else type(plugin)


def misspelt(owner: str, name: str) -> str:
    """What is wrong with a method marked as a hook that does not exist."""
    close = difflib.get_close_matches(name, hookspecs.KIND_OF_HOOK, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "gankit.plugin.hookspecs has them all"
    return f"{owner} marks {name!r} as a hook, and there is no such hook; {hint}"


def wrong_arguments(owner: str, name: str, taken: Iterable[str]) -> str | None:
    """What is wrong with the arguments that an implementation takes; None when they fit."""
    given = tuple(inspect.signature(getattr(hookspecs, name)).parameters)
    unknown = [argument for argument in taken if argument not in given]
    if not unknown:
        return None
    offer = f"it can take {', '.join(given)}" if given else "it takes none"
    return f"{owner}: {name} has no argument {' and '.join(map(repr, unknown))}; {offer}"


def _why_refused(key: str, plugin: Any, error: pluggy.PluginValidationError) -> str:
    plugin_class = _class_of(plugin)
    for name in dir(plugin_class):
        method: Any = getattr(plugin_class, name, None)
        if not hasattr(method, "gankit_impl"):
            continue
        if name not in hookspecs.KIND_OF_HOOK:
            return f"{key}: {misspelt(plugin_class.__name__, name)}"
        parameters = inspect.signature(method).parameters.values()
        taken = [p.name for p in parameters if p.name != "self"]
        if wrong := wrong_arguments(plugin_class.__name__, name, taken):
            return f"{key}: {wrong}"
    return f"{key}: {plugin_class.__name__} does not fit its hook point: {' '.join(str(error).split())}"
