"""`gankit list-plugins`: list the installed plugins from metadata and source code, without importing them."""

import itertools
import json
import shutil
import sys
from dataclasses import asdict, dataclass

import click

from gankit.errors import InputError, PluginError
from gankit.formatting import first_line
from gankit.plugin.hookspecs import KIND_OF_HOOK
from gankit.plugin.registry import Entry, Registry, ResolvedPlugin
from gankit.plugin.slots import KINDS
from gankit.plugin.static_scan import ClassScanner, ScannedClass
from gankit.suggest import nearest


@dataclass(frozen=True)
class Row:
    """Row of the plugin list: the facts about one plugin. The field names are the keys in the output of `--json`."""

    name: str
    kind: str  # kind of the plugin, such as `penalty`; empty if the source code does not define the kind
    hooks: list[str]
    distribution: str
    version: str
    summary: str
    error: str = ""  # reason why the plugin cannot be used, or empty


@click.command("list-plugins")
@click.option("--long", is_flag=True, help="Print the hook points of each plugin, too.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@click.option("--kind", metavar="KIND", help="List only plugins of one kind: data, generator, penalty, trick, ...")
@click.option("--hook", metavar="HOOK", help="List only plugins with this hook point: loss_terms, step_order, ...")
@click.option("--check", is_flag=True, help="Import every plugin, to find the ones that cannot be imported.")
def command(long: bool, as_json: bool, kind: str | None, hook: str | None, check: bool) -> None:
    """List the installed plugins by kind. `gankit describe NAME` shows the documentation of a plugin.

    The list is read from the source code of the plugins. The plugins are imported only with --check.
    """
    entries = Registry.installed().entries
    checks = (("--kind", kind, "kind", KINDS), ("--hook", hook, "hook point", KIND_OF_HOOK))
    for option, given, what, known in checks:
        if given is not None and given not in known:
            hint = f"{nearest(given, known)}there are {', '.join(known)}"
            raise InputError(f"{option} {given}: there is no such {what}; {hint}")
    scanner = ClassScanner(e.value.partition(":")[0].partition(".")[0] for e in entries)
    rows = [imported(e) if check else read(e, scanner) for e in entries]
    rows = [r for r in rows if (kind is None or r.kind == kind) and (hook is None or hook in r.hooks)]
    rows.sort(key=lambda row: (row.kind, row.name, row.distribution))
    if as_json:
        click.echo(json.dumps([{k: v for k, v in asdict(r).items() if k != "error" or v} for r in rows], indent=2))
        return
    for shown_kind, group in itertools.groupby(rows, key=lambda row: row.kind):
        click.echo(f"{shown_kind or 'unknown kind (--check shows it)'}:")
        members = list(group)
        width = max(len(row.name) for row in members)
        origin = max(len(f"{row.distribution} {row.version}") for row in members)
        for row in members:
            summary = f"BROKEN: {row.error}" if row.error else row.summary
            line = f"  {row.name:{width}}  {f'{row.distribution} {row.version}':{origin}}  {summary}".rstrip()
            click.echo(_truncated(line))
            if long and not row.error:
                click.echo(f"      hooks: {', '.join(row.hooks) or 'none'}")


def _truncated(line: str) -> str:
    """Truncate a line to the width of the terminal. If stdout is not a terminal, return the line unchanged."""
    if not sys.stdout.isatty() or len(line) <= (width := shutil.get_terminal_size().columns):
        return line
    return f"{line[: width - 1]}…"


def read(entry: Entry, scanner: ClassScanner) -> Row:
    """Return the row of a plugin in the plugin list. Read the plugin's source code without importing the plugin."""
    try:
        if entry.kind not in (*KINDS, None):
            raise PluginError(
                f"{entry.label}: there is no kind {entry.kind!r}; {nearest(str(entry.kind), KINDS)}".strip("; ")
            )
        scanned = scanner.of(entry.value)
        kind, hooks = (entry.kind or "", []) if scanned is None else _kind_and_hooks(entry, scanned)
    except PluginError as error:
        return _broken(entry, error)
    summary = "" if scanned is None else scanned.summary
    return Row(entry.name, kind, hooks, entry.distribution, entry.version, summary)


def _kind_and_hooks(entry: Entry, scanned: ScannedClass) -> tuple[str, list[str]]:
    """Return the kind and the hook points of a plugin class from its source code, without importing it.

    Raises:
        PluginError: a hook point, the kind or the API version of the class is not valid.
    """
    from gankit.plugin.hooks import unknown_arguments, unknown_hook
    from gankit.plugin.resolve import check_api_version

    if not scanned.is_plugin:  # networks (`nn.Module`) can be registered without a plugin class
        return entry.kind or "", [f"build_{entry.kind}"] if entry.kind in ("generator", "discriminator") else []
    for name, arguments in scanned.hooks.items():
        if name not in KIND_OF_HOOK:
            raise PluginError(f"{entry.label}: {unknown_hook(scanned.name, name)}")
        if wrong := unknown_arguments(scanned.name, name, arguments):
            raise PluginError(f"{entry.label}: {wrong}")
    kind = str(scanned.constants.get("kind", ""))
    if kind and entry.kind is not None and kind != entry.kind:
        raise PluginError(f"{entry.label} is a plugin for {kind}, not for {entry.kind}")
    if "api_version" in scanned.constants:
        check_api_version(scanned.constants["api_version"], entry.label, entry.distribution)
    return kind or entry.kind or "", [name for name in KIND_OF_HOOK if name in scanned.hooks]


def imported(entry: Entry) -> Row:
    """Import a plugin and return its row in the plugin list. The row contains the error if the import fails."""
    from gankit.plugin.base import Plugin
    from gankit.plugin.hooks import check_hooks, hooks_of
    from gankit.plugin.resolve import as_plugin_class

    try:
        resolved = ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value)
        kind = entry.kind or (resolved.target.kind if issubclass(resolved.target, Plugin) else "generator")
        plugin_class = as_plugin_class(resolved, (kind,))  # type: ignore[arg-type]
        check_hooks(plugin_class, entry.label)
    except PluginError as error:
        return _broken(entry, error)
    return Row(entry.name, kind, hooks_of(plugin_class), entry.distribution, entry.version, first_line(resolved.target))


def _broken(entry: Entry, error: PluginError) -> Row:
    reason = " ".join(str(error).split())
    return Row(entry.name, entry.kind or "", [], entry.distribution, entry.version, "", reason)
