"""`gankit describe`: show the documentation, source and settings of a plugin."""

import inspect
from pathlib import Path

import click

from gankit.errors import PluginError
from gankit.plugin.registry import Registry, ResolvedPlugin
from gankit.plugin.slots import KINDS
from gankit.suggest import RENAMED, nearest


@click.command("describe")
@click.argument("plugin")
def command(plugin: str) -> None:
    """Show the documentation, package, source file, hooks and settings of PLUGIN.

    PLUGIN is a name, KIND.NAME, FILE.py:CLASS or MODULE:CLASS. If several plugins have this name, the command shows
    all of them.
    """
    for position, resolved in enumerate(find(plugin, Registry.installed())):
        if position:
            click.echo(f"\n{'-' * 40}\n")
        describe(resolved)


def find(name: str, registry: Registry) -> list[ResolvedPlugin]:
    """Return all plugins with the given name. Usually there is only one.

    Raises:
        PluginError: no plugin has the name, or no plugin with this name can be imported.
    """
    if ":" in name:
        return [registry.find(name, ("trick",), Path())]
    entries = [e for e in registry.entries if name in (e.name, e.label, f"{e.name}@{e.distribution}")]
    if not entries and name.endswith(".py"):
        # The user gave a file without a class. With an empty class name, `find` raises an error that lists the classes.
        return [registry.find(f"{name}:", ("trick",), Path())]
    if not entries and name in KINDS:
        raise PluginError(f"{name} is a kind of plugin; `gankit list-plugins --kind {name}` lists its plugins")
    if not entries:
        raise PluginError(
            f"no plugin {name!r} is installed; {_suggestion(name, registry)}`gankit list-plugins` lists all"
        )
    resolved, errors = [], []
    for entry in entries:
        try:
            resolved.append(ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value))
        except PluginError as error:
            errors.append(error)
    if not resolved:
        raise errors[0]
    for broken in errors:
        click.echo(f"broken: {broken}", err=True)
    return resolved


def _suggestion(name: str, registry: Registry) -> str:
    """Return a hint for an unknown plugin name: a similar name, or the correct KIND.NAME if only the kind is wrong."""
    _, dot, last = name.rpartition(".")
    labels = [e.label for e in registry.entries if dot and e.name == RENAMED.get(last, last)]
    if labels:
        return f"did you mean {' or '.join(map(repr, labels))}? "
    return nearest(name, {*KINDS, *(e.name for e in registry.entries), *(e.label for e in registry.entries)})


def describe(resolved: ResolvedPlugin) -> None:
    """Print the documentation, package, source file, hooks and settings of a plugin."""
    from gankit.cli.settings_help import setting_rows
    from gankit.plugin.base import Plugin
    from gankit.plugin.hooks import check_hooks, hooks_of
    from gankit.plugin.resolve import as_plugin_class
    from gankit.plugin.slots import Kind

    target = resolved.target
    kind: Kind | None = target.kind if issubclass(target, Plugin) else None
    plugin_class = as_plugin_class(resolved, (kind or "generator",))
    check_hooks(plugin_class, resolved.use)
    click.echo(f"{plugin_class.name}: {kind or 'a network for the slot generator or discriminator'}")
    # If the class has no docstring, inspect.getdoc would return the docstring of its base class.
    if target.__doc__:
        click.echo(f"\n{inspect.cleandoc(target.__doc__)}")
    facts = {
        "from": f"{resolved.distribution} {resolved.version}".strip(),
        "class": resolved.origin,
        "file": inspect.getsourcefile(target) or "",
        "hooks": ", ".join(hooks_of(plugin_class)) if kind else "",
    }
    click.echo()
    for label, fact in facts.items():
        if fact:
            click.echo(f"{label:5}  {fact}")
    if rows := setting_rows(plugin_class.Config):
        formatter = click.HelpFormatter()
        with formatter.section("settings"):
            formatter.write_dl(rows)
        click.echo(f"\n{formatter.getvalue().rstrip()}")
    else:
        click.echo("\nno settings")
