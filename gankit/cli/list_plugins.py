"""`gankit list-plugins`: what is installed, from metadata alone unless more is asked for."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass

import click

from gankit.errors import InputError, PluginError
from gankit.registry import Entry, Found, Registry, nearest


@dataclass(frozen=True)
class Row:
    """One plugin, as `--json` prints it."""

    name: str
    kind: str
    """Empty when nothing says it."""

    hooks: list[str]
    distribution: str
    version: str
    summary: str
    error: str = ""
    """Why it cannot be used; empty when it can."""


@click.command("list-plugins")
@click.option("--long", is_flag=True, help="Add hooks and a summary. Imports every plugin, which takes a moment.")
@click.option("--json", "as_json", is_flag=True, help="The same as --long, as a list of JSON objects.")
@click.option("--kind", metavar="KIND", help="Only those of one kind: data, generator, trick, ...")
@click.option("--hook", metavar="HOOK", help="Only those that implement a hook point. Imports every plugin.")
def command(long: bool, as_json: bool, kind: str | None, hook: str | None) -> None:
    """List the installed plugins, by kind. `gankit describe NAME` explains one."""
    entries = Registry.installed().entries
    if kind is not None:
        _check_kind(kind)
        # Where an entry point does not say the kind, the class does.
        entries = [e for e in entries if e.kind == kind or (e.kind is None and looked_at(e).kind == kind)]
    if hook is not None:
        _check_hook(hook)
    rows = [looked_at(e) if long or as_json or hook else from_metadata(e) for e in entries]
    rows = [row for row in rows if hook is None or hook in row.hooks]
    rows.sort(key=lambda row: (row.kind, row.name, row.distribution))
    if as_json:
        click.echo(json.dumps([{k: v for k, v in asdict(r).items() if k != "error" or v} for r in rows], indent=2))
        return
    for shown_kind, group in itertools.groupby(rows, key=lambda row: row.kind):
        click.echo(f"{shown_kind or 'of a kind that only --long can tell'}:")
        members = list(group)
        width = max(len(row.name) for row in members)
        for row in members:
            click.echo(f"  {row.name:{width}}  {row.distribution} {row.version}{'  BROKEN' if row.error else ''}")
            for line in details(row) if long else []:
                click.echo(f"      {line}")


def details(row: Row) -> list[str]:
    if row.error:
        return [row.error]
    return [line for line in (row.summary, f"hooks: {', '.join(row.hooks) or 'none'}") if line]


def from_metadata(entry: Entry) -> Row:
    """What is known of a plugin without importing it."""
    missing = entry.missing_module()
    error = f"plugin {entry.label!r}: there is no module {missing}" if missing is not None else ""
    return Row(entry.name, entry.kind or "", [], entry.distribution, entry.version, "", error)


def looked_at(entry: Entry) -> Row:
    """What the class says of itself; a plugin that cannot be used says why."""
    from gankit.hooks import check_hooks, hooks_of
    from gankit.plugin import Plugin
    from gankit.recipe import as_plugin_class

    try:
        found = Found(entry.load(), entry.name, entry.distribution, entry.version, entry.value)
        kind = entry.kind or (found.found.kind if issubclass(found.found, Plugin) else "generator")
        plugin_class = as_plugin_class(found, kind)  # type: ignore[arg-type]
        check_hooks(plugin_class, entry.label)
    except PluginError as error:
        message = " ".join(str(error).split())
        return Row(entry.name, entry.kind or "", [], entry.distribution, entry.version, "", message)
    return Row(entry.name, kind, hooks_of(plugin_class), entry.distribution, entry.version, summary(found.found))


def summary(documented: type) -> str:
    """The first line of a class's own docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


def _check_kind(kind: str) -> None:
    from gankit.plugin import KINDS

    if kind not in KINDS:
        raise InputError(f"--kind {kind}: there is no such kind; {nearest(kind, KINDS)}there are {', '.join(KINDS)}")


def _check_hook(hook: str) -> None:
    from gankit.hookspecs import KIND_OF_HOOK

    if hook not in KIND_OF_HOOK:
        known = ", ".join(KIND_OF_HOOK)
        raise InputError(f"--hook {hook}: there is no such hook point; {nearest(hook, KIND_OF_HOOK)}there are {known}")
