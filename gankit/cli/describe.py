"""`gankit describe`: a plugin's documentation, where it comes from, and its settings."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from gankit.errors import PluginError
from gankit.plugin.registry import Registry, ResolvedPlugin
from gankit.suggest import nearest


@click.command("describe")
@click.argument("plugin")
def command(plugin: str) -> None:
    """Explain PLUGIN: what it does, where it comes from, its hooks and settings.

    PLUGIN is a name, KIND.NAME, FILE.py:CLASS or MODULE:CLASS. A name that several kinds have shows all of them.
    """
    found = find(plugin, Registry.installed())
    for position, one in enumerate(found):
        if position:
            click.echo(f"\n{'-' * 40}\n")
        describe(one)


def find(given: str, registry: Registry) -> list[ResolvedPlugin]:
    """What is meant, most often one class.

    Raises PluginError, with the nearest name, when there is none, or when it cannot be imported.
    """
    from gankit.plugin.slots import KINDS

    if ":" in given:
        return [registry.find(given, ("trick",), Path())]
    entries = [e for e in registry.entries if given in (e.name, e.label, f"{e.name}@{e.distribution}")]
    if not entries and given.endswith(".py"):
        # Following it to a class without a name says which classes there are.
        return [registry.find(f"{given}:", ("trick",), Path())]
    if not entries and given in KINDS:
        raise PluginError(f"{given} is a kind of plugin; `gankit list-plugins --kind {given}` shows those of that kind")
    if not entries:
        names = {e.name for e in registry.entries} | {e.label for e in registry.entries}
        raise PluginError(
            f"no plugin {given!r} is installed; {nearest(given, names)}`gankit list-plugins` shows those that are"
        )
    found, errors = [], []
    for entry in entries:
        try:
            found.append(ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value))
        except PluginError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    for broken in errors:  # one that is broken does not hide the other of the same name
        click.echo(f"broken: {broken}", err=True)
    return found


def describe(found: ResolvedPlugin) -> None:
    """Prints all that is known of a class.

    Raises PluginError when it is no plugin, or one that does not fit its hook points.
    """
    from gankit.cli.settings_help import setting_rows
    from gankit.plugin.base import Plugin
    from gankit.plugin.hooks import check_hooks, hooks_of
    from gankit.plugin.resolve import as_plugin_class
    from gankit.plugin.slots import Kind

    plugin_kind: Kind | None = found.target.kind if issubclass(found.target, Plugin) else None
    plugin_class = as_plugin_class(found, (plugin_kind or "generator",))
    check_hooks(plugin_class, found.use)
    click.echo(f"{plugin_class.name}: {plugin_kind or 'a network for the slot generator or discriminator'}")
    # Asked of the class alone: inspect.getdoc would answer with the base class's docstring.
    if found.target.__doc__:
        click.echo(f"\n{inspect.cleandoc(found.target.__doc__)}")
    facts = {
        "from": f"{found.distribution} {found.version}".strip(),
        "class": found.origin,
        "file": inspect.getsourcefile(found.target) or "",
        "hooks": ", ".join(hooks_of(plugin_class)) if plugin_kind else "",
    }
    click.echo()
    for what, fact in facts.items():
        if fact:
            click.echo(f"{what:5}  {fact}")
    if rows := setting_rows(plugin_class.Config):
        formatter = click.HelpFormatter()
        with formatter.section("settings"):
            formatter.write_dl(rows)
        click.echo(f"\n{formatter.getvalue().rstrip()}")
    else:
        click.echo("\nno settings")
