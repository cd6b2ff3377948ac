"""`gankit list-plugins`: what is installed, from metadata and source alone unless an import is asked for."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from dataclasses import asdict, dataclass

import click

from gankit.errors import InputError, PluginError
from gankit.formatting import first_line
from gankit.plugin.registry import Entry, Registry, ResolvedPlugin
from gankit.plugin.slots import KINDS
from gankit.plugin.static_scan import ScannedClass, ClassScanner
from gankit.suggest import nearest


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
@click.option("--long", is_flag=True, help="Add the hook points that each implements.")
@click.option("--json", "as_json", is_flag=True, help="All of that as a list of JSON objects.")
@click.option("--kind", metavar="KIND", help="Only those of one kind: data, generator, trick, ...")
@click.option("--hook", metavar="HOOK", help="Only those that implement a hook point: loss_terms, turns, ...")
@click.option("--check", is_flag=True, help="Import every plugin, to find those that fail only then.")
def command(long: bool, as_json: bool, kind: str | None, hook: str | None, check: bool) -> None:
    """List the installed plugins, by kind. `gankit describe NAME` explains one.

    Nothing is imported unless --check asks for it: what is shown stands in the packages' files.
    """
    entries = Registry.installed().entries
    if kind is not None:
        _check_kind(kind)
    if hook is not None:
        _check_hook(hook)
    outlines = ClassScanner(e.value.partition(":")[0].partition(".")[0] for e in entries)
    rows = [imported(e) if check else read(e, outlines) for e in entries]
    rows = [r for r in rows if (kind is None or r.kind == kind) and (hook is None or hook in r.hooks)]
    rows.sort(key=lambda row: (row.kind, row.name, row.distribution))
    if as_json:
        click.echo(json.dumps([{k: v for k, v in asdict(r).items() if k != "error" or v} for r in rows], indent=2))
        return
    for shown_kind, group in itertools.groupby(rows, key=lambda row: row.kind):
        click.echo(f"{shown_kind or 'of a kind that only --check can tell'}:")
        members = list(group)
        width = max(len(row.name) for row in members)
        origin = max(len(f"{row.distribution} {row.version}") for row in members)
        for row in members:
            what = f"BROKEN: {row.error}" if row.error else row.summary
            line = f"  {row.name:{width}}  {f'{row.distribution} {row.version}':{origin}}  {what}".rstrip()
            click.echo(_fitting(line))
            if long and not row.error:
                click.echo(f"      hooks: {', '.join(row.hooks) or 'none'}")


def _fitting(line: str) -> str:
    """A line cut to the terminal's width; whole where it goes to a file or another program."""
    if not sys.stdout.isatty() or len(line) <= (width := shutil.get_terminal_size().columns):
        return line
    return f"{line[: width - 1]}…"


def read(entry: Entry, outlines: ClassScanner) -> Row:
    """What a plugin's source says of it; nothing of it is run."""
    try:
        if entry.kind not in (*KINDS, None):
            raise PluginError(f"{entry.label}: there is no kind {entry.kind!r}")
        outline = outlines.of(entry.value)
        kind, hooks = (entry.kind or "", []) if outline is None else _read_off(entry, outline)
    except PluginError as error:
        return _broken(entry, error)
    said = "" if outline is None else outline.summary
    return Row(entry.name, kind, hooks, entry.distribution, entry.version, said)


def _read_off(entry: Entry, outline: ScannedClass) -> tuple[str, list[str]]:
    """The kind and the hook points of a class.

    Raises PluginError for what can be seen to be wrong with it.
    """
    from gankit.plugin.hooks import unknown_hook, unknown_arguments
    from gankit.plugin.hookspecs import KIND_OF_HOOK
    from gankit.plugin.resolve import check_api_version

    if not outline.is_plugin:  # a network, as far as can be seen
        return entry.kind or "", [f"build_{entry.kind}"] if entry.kind in ("generator", "discriminator") else []
    for name, arguments in outline.hooks.items():
        if name not in KIND_OF_HOOK:
            raise PluginError(f"{entry.label}: {unknown_hook(outline.name, name)}")
        if wrong := unknown_arguments(outline.name, name, arguments):
            raise PluginError(f"{entry.label}: {wrong}")
    kind = str(outline.constants.get("kind", ""))
    if kind and entry.kind is not None and kind != entry.kind:
        raise PluginError(f"{entry.label} is a plugin for {kind}, not for {entry.kind}")
    if "api_version" in outline.constants:
        check_api_version(outline.constants["api_version"], entry.label, entry.distribution)
    return kind or entry.kind or "", [name for name in KIND_OF_HOOK if name in outline.hooks]


def imported(entry: Entry) -> Row:
    """What the class says of itself; a plugin that cannot be used says why."""
    from gankit.plugin.base import Plugin
    from gankit.plugin.hooks import check_hooks, hooks_of
    from gankit.plugin.resolve import as_plugin_class

    try:
        found = ResolvedPlugin(entry.load(), entry.name, entry.distribution, entry.version, entry.value)
        kind = entry.kind or (found.target.kind if issubclass(found.target, Plugin) else "generator")
        plugin_class = as_plugin_class(found, (kind,))  # type: ignore[arg-type]
        check_hooks(plugin_class, entry.label)
    except PluginError as error:
        return _broken(entry, error)
    return Row(entry.name, kind, hooks_of(plugin_class), entry.distribution, entry.version, first_line(found.target))


def _broken(entry: Entry, error: PluginError) -> Row:
    why = " ".join(str(error).split())
    return Row(entry.name, entry.kind or "", [], entry.distribution, entry.version, "", why)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"--kind {kind}: there is no such kind; {nearest(kind, KINDS)}there are {', '.join(KINDS)}")


def _check_hook(hook: str) -> None:
    from gankit.plugin.hookspecs import KIND_OF_HOOK

    if hook not in KIND_OF_HOOK:
        known = ", ".join(KIND_OF_HOOK)
        raise InputError(f"--hook {hook}: there is no such hook point; {nearest(hook, KIND_OF_HOOK)}there are {known}")
