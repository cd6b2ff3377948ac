"""Hook implementations of a run's plugins, as plain functions in the order of the recipe.

gankit uses the library pluggy only to register plugins, and calls the functions of the plugins itself. The reason is
that pluggy calls plugins in the reverse order of their registration. With the option `firstresult`, pluggy also stops
at the first result, so it cannot detect a second plugin that returns a result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from gankit.errors import PluginError
from gankit.plugin import hookspecs
from gankit.suggest import nearest

if TYPE_CHECKING:
    from gankit.plugin.base import Plugin
    from gankit.plugin.slots import Player


NOTE = "raised by "
"""First words of the note that gankit adds to an exception of a plugin. Python shows the note below the exception."""


@dataclass(frozen=True)
class Implementation:
    """Implementation of one hook point by one plugin."""

    key: str
    """Key of the plugin in the recipe, such as `tricks.instance_noise`."""

    call: Callable[..., Any]
    """Function that takes all arguments of the hook point by position, in the order of their declaration."""

    plugin: Plugin

    arguments: tuple[str, ...] = ()
    """Names of the arguments that the implementation takes."""


class Hooks:
    """Hook implementations of all plugins of one run, grouped by hook point.

    Args:
        plugins: plugin instances by their keys in the recipe, in the order of the recipe.

    Raises:
        PluginError: a hook has an unknown name, takes an unknown argument, or is not correctly marked with `@hookimpl`.
    """

    def __init__(self, plugins: dict[str, Plugin]) -> None:
        manager = _Manager("gankit")
        manager.add_hookspecs(hookspecs)
        order = {id(plugin): position for position, plugin in enumerate(plugins.values())}
        for key, plugin in plugins.items():
            _check_hooks(key, _class_of(plugin))
            manager.register(plugin, name=key)
        self._implementations: dict[str, list[Implementation]] = {}
        for name in hookspecs.KIND_OF_HOOK:
            caller = getattr(manager.hook, name)
            implementations = sorted(caller.get_hookimpls(), key=lambda impl: order[id(impl.plugin)])
            assert caller.spec is not None
            arguments = caller.spec.argnames
            self._implementations[name] = [
                Implementation(
                    impl.plugin_name,
                    _checked(
                        name,
                        f"{_class_of(impl.plugin).__name__}.{name} ({impl.plugin_name})",
                        _select_arguments(arguments, impl.argnames, impl.function),
                    ),
                    impl.plugin,
                    tuple(impl.argnames),
                )
                for impl in implementations
            ]

    def of(self, name: str, player: Player | None = None) -> list[Implementation]:
        """Return the implementations of a hook point, in the order of the recipe.

        If `player` is given, plugins that belong only to the other player are left out. For `discriminator`, for
        example, the plugin `optimizer.generator` is left out.
        """
        implementations = self._implementations[name]
        if player is None:
            return implementations
        other = ".discriminator" if player == "generator" else ".generator"
        return [i for i in implementations if i.key.startswith("tricks.") or not i.key.endswith(other)]

    def calls(self, name: str) -> list[Callable[..., Any]]:
        """Return the functions that implement a hook point, in the order of the recipe."""
        return [implementation.call for implementation in self.of(name)]

    def event(self, name: str) -> Callable[..., None]:
        """Return one function that calls all implementations of a hook point, in the order of the recipe."""
        calls = self.calls(name)

        def call_all(*arguments: Any) -> None:
            for call in calls:
                call(*arguments)

        return call_all

    def one(self, name: str, *arguments: Any, player: Player | None = None) -> Any:
        """Call all implementations of a hook point, and return the only value that is not None.

        Raises:
            PluginError: no plugin or more than one plugin returns a value.
        """
        values = [(i.key, value) for i in self.of(name, player) if (value := i.call(*arguments)) is not None]
        if len(values) == 1:
            return values[0][1]
        if values:
            raise PluginError(_several([key for key, _ in values], name))
        keys = ", ".join(i.key for i in self.of(name, player))
        detail = f"implemented by {keys}, without a value" if keys else "no plugin of the recipe implements it"
        raise PluginError(f"no plugin provides `{name}`; exactly one must ({detail})")

    def sole(self, name: str) -> Callable[..., Any] | None:
        """Return a function that calls all implementations of a hook point, or None if no plugin implements it.

        The returned function returns the only value that is not None, or None if all values are None. It raises
        PluginError if more than one plugin returns a value.
        """
        implementations = self.of(name)
        if len(implementations) < 2:
            return implementations[0].call if implementations else None

        def call(*arguments: Any) -> Any:
            values = [(i.key, value) for i in implementations if (value := i.call(*arguments)) is not None]
            if len(values) > 1:
                raise PluginError(_several([key for key, _ in values], name))
            return values[0][1] if values else None

        return call


def _several(keys: Iterable[str], name: str) -> str:
    return f"{' and '.join(keys)} provide `{name}`; only one plugin can; remove the others from the recipe"


class _Manager(pluggy.PluginManager):
    """Subclass of pluggy's plugin manager that searches for hooks in the plugin's class instead of the instance.

    Reading the attributes of the instance would run the code of its properties.
    """

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        marked = hasattr(getattr(_class_of(plugin), name, None), "gankit_impl")
        return super().parse_hookimpl_opts(plugin, name) if marked else None


def hooks_of(plugin_class: type) -> list[str]:
    """Return the names of the hook points that a plugin class implements, in the order of their declaration."""
    return [name for name in hookspecs.KIND_OF_HOOK if hasattr(getattr(plugin_class, name, None), "gankit_impl")]


def check_hooks(plugin_class: type[Plugin], label: str) -> None:
    """Check the names and arguments of the hooks of a plugin class. The plugin's settings are not needed.

    Raises:
        PluginError: a hook is invalid. The message starts with `label`.
    """
    Hooks({label: plugin_class.__new__(plugin_class)})


def _select_arguments(passed: Sequence[str], taken: Sequence[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the arguments named in `passed` and calls `function` with those named in `taken`."""
    if tuple(taken) == tuple(passed):
        return function
    positions = [passed.index(name) for name in taken]
    if len(positions) == 1:
        only = positions[0]
        return lambda *arguments: function(arguments[only])
    return lambda *arguments: function(*[arguments[p] for p in positions])


def _checked(hook: str, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls an implementation of a hook point, and checks the value that it returns.

    If the implementation raises an exception, the returned function adds a note to the exception. The note contains
    `place`, the name of the implementation.
    """

    def call(*arguments: Any) -> Any:
        # This import is inside the function, because `gankit list-plugins` checks hooks without importing torch.
        from gankit.plugin.hook_values import check_value

        try:
            value = function(*arguments)
            # Run the body of a generator function inside this `try` block, so that its exceptions also get the note.
            if isinstance(value, Iterator):
                value = list(value)
        except Exception as error:
            error.add_note(f"{NOTE}{place}")
            raise
        check_value(value, hook, place)
        return value

    return call


def _check_hooks(key: str, plugin_class: type) -> None:
    """Check that each hook of a plugin class has a valid name and valid arguments, and is marked with `@hookimpl`.

    The decorator must be used without pluggy's options, such as `tryfirst`.

    Raises:
        PluginError: a hook is invalid. The message starts with `key`.
    """
    for name in dir(plugin_class):
        method: Any = getattr(plugin_class, name, None)
        if not hasattr(method, "gankit_impl"):
            if name in hookspecs.KIND_OF_HOOK and callable(method):
                raise PluginError(
                    f"{key}: {name} is not marked as a hook, so it would never be called; write @hookimpl above it"
                )
            continue
        options: dict[str, Any] = method.gankit_impl
        if any(options.values()):
            names = " and ".join(option for option, value in options.items() if value)
            raise PluginError(
                f"{key}: {name} has the pluggy option {names}; the order of the recipe is the only order; write "
                "@hookimpl without options"
            )
        if name not in hookspecs.KIND_OF_HOOK:
            raise PluginError(f"{key}: {unknown_hook(plugin_class.__name__, name)}")
        parameters = list(inspect.signature(method).parameters.values())
        for parameter in parameters:
            if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                raise PluginError(
                    f"{key}: {name}: arguments are passed by position; write {parameter.name!r} without *"
                )
            if parameter.default is not parameter.empty:
                raise PluginError(
                    f"{key}: {name}: {parameter.name!r} has a default, so it would always have that value; remove "
                    "the default"
                )
        # Leave out `self`, the first parameter of an ordinary method. The signature of a static method or of a bound
        # class method has no such parameter.
        bound = isinstance(inspect.getattr_static(plugin_class, name), (staticmethod, classmethod))
        taken = [parameter.name for parameter in parameters[0 if bound else 1 :]]
        if wrong := unknown_arguments(plugin_class.__name__, name, taken):
            raise PluginError(f"{key}: {wrong}")


def _class_of(plugin: Any) -> type:
    return plugin if inspect.isclass(plugin) else type(plugin)


def unknown_hook(owner: str, name: str) -> str:
    """Return an error message for a method that is marked with `@hookimpl`, but whose name is not a hook point."""
    hint = nearest(name, hookspecs.KIND_OF_HOOK) or "gankit.plugin.hookspecs lists them"
    return f"{owner} marks {name!r} as a hook, but there is no such hook point; {hint}".rstrip("; ")


def unknown_arguments(owner: str, name: str, taken: Iterable[str]) -> str | None:
    """Return an error message for arguments that a hook implementation takes but its hook point does not have.

    Return None if the hook point has all arguments in `taken`.
    """
    available = tuple(inspect.signature(getattr(hookspecs, name)).parameters)
    unknown = [argument for argument in taken if argument not in available]
    if not unknown:
        return None
    hint = f"it can take {', '.join(available)}" if available else "it takes none"
    return f"{owner}: {name} has no argument {' and '.join(map(repr, unknown))}; {hint}"
