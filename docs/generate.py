"""Writes the pages that code says better: the hook points, the recipe, and every plugin that comes with gankit.

    python docs/generate.py [--out docs]

A test compares what stands there with what this would write.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import griffe
from pydantic import BaseModel

from gankit.cli.settings_help import setting_rows
from gankit.plugin import hookspecs
from gankit.plugin.base import Plugin
from gankit.plugin.hooks import hooks_of
from gankit.plugin.registry import Entry, Registry
from gankit.plugin.slots import DEFAULT_USE, KINDS, PLAYER_SLOTS, SINGLE_SLOTS
from gankit.recipe.settings import Evaluation, Output, Train

MEANING = {
    "exactly one": "exactly one plugin answers; each may return None, and two answers are an error that names both",
    "at most one": "as *exactly one*, and none is fine",
    "event": "everyone is called, nothing is returned",
    "chain": "each gets what the one before returned",
    "list": "what everyone returns is put together",
    "merged": "dictionaries are put together",
}

TITLES = {
    "data": "Data",
    "latent": "Priors",
    "generator": "Generators",
    "discriminator": "Discriminators",
    "loss": "Losses",
    "normalization": "Normalisations",
    "optimizer": "Optimisers",
    "lr_schedule": "Schedules of the rate",
    "trick": "Tricks",
    "extractor": "Extractors of features",
    "metric": "Measures",
}

WRITTEN = "<!-- Written by `python docs/generate.py`. -->\n\n"


def pages() -> dict[str, str]:
    """Every generated page, by its path within docs/."""
    entries = [entry for entry in Registry.installed().entries if entry.distribution == "gankit"]
    by_kind = {kind: [entry for entry in entries if entry.kind == kind] for kind in TITLES}
    made = {"hooks.md": hooks_page(entries), "recipe.md": recipe_page(by_kind), "api.md": api_page()}
    return made | {f"plugins/{kind}.md": kind_page(kind, of_kind) for kind, of_kind in by_kind.items()}


def hooks_page(entries: Iterable[Entry]) -> str:
    """Each hook point: its signature, when it is called, an example, and who implements it."""
    users: dict[str, list[str]] = {}
    for entry in entries:
        for hook in hooks_of(entry.load()):
            users.setdefault(hook, []).append(f"[`{entry.name}`](plugins/{entry.kind}.md#{entry.name})")
    lines = [
        f"{WRITTEN}# The hook points",
        "",
        "A plugin is a class with methods named as below and marked with `@hookimpl`. An implementation takes any subset of "
        "the arguments, by name. Plugins are called in the order of the recipe. `run` is the `gankit.Game` being played.",
        "",
        *(f"- *{kind}*: {meaning}." for kind, meaning in MEANING.items()),
        "",
    ]
    for name, kind in hookspecs.KIND_OF_HOOK.items():
        function = getattr(hookspecs, name)
        text, _, example = inspect.cleandoc(function.__doc__).partition("Example:\n")
        lines += [f"## {name}", "", f"```python\n{name}{signature(function)}\n```", "", f"*{kind}.* {flowed(text)}", ""]
        lines += [f"```python\n{textwrap.dedent(example).strip()}\n```", ""]
        if users.get(name):
            lines += [f"In use by {', '.join(users[name])}.", ""]
    return "\n".join(lines)


def signature(function: object) -> str:
    """The arguments and what is returned, as they stand in the source."""
    return str(inspect.signature(function)).replace("'", "")  # type: ignore[arg-type]


def flowed(text: str) -> str:
    """Paragraphs, each on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def recipe_page(by_kind: dict[str, list[Entry]]) -> str:
    """The tables of a recipe that the core reads, and the slots that plugins fill."""
    lines = [
        f"{WRITTEN}# The recipe",
        "",
        "A TOML file. Unknown keys are errors; `gankit validate RECIPE` says all that is wrong with one. On the command line "
        "`key=value` replaces a setting, with a TOML value, and `--drop KEY` leaves a table out.",
        "",
        "| key | what it is |",
        "| --- | --- |",
        "| `name` | of the run; the file's, if left out |",
        "| `seed` | of all randomness; 0 by default |",
        "| `extends` | another recipe, relative to this one, that lies beneath this one table by table |",
        '| `requires` | distributions that must be installed: `["gankit-lecam >= 0.2"]` |',
        "",
        "## [train]",
        "",
        *settings_table(Train),
        "",
        "## [output]",
        "",
        *settings_table(Output),
        "",
        "## [evaluation]",
        "",
        *settings_table(Evaluation),
        "",
        "## Slots",
        "",
        'Each is filled by one plugin: `loss = "hinge"`, or a table with `use` and the plugin\'s settings.',
        "",
        "| slot | if left out | plugins that come with gankit |",
        "| --- | --- | --- |",
    ]
    for kind in (*SINGLE_SLOTS, *PLAYER_SLOTS, "extractor"):
        keys = [f"{kind}.generator", f"{kind}.discriminator"] if kind in PLAYER_SLOTS else [kind]
        names = ", ".join(f"[`{e.name}`](plugins/{kind}.md#{e.name})" for e in by_kind[kind])
        unsaid = f"`{DEFAULT_USE[kind]}`" if kind in DEFAULT_USE else "an error"
        lines.append(f"| {', '.join(f'`{key}`' for key in keys)} | {unsaid} | {names} |")
    lines += [
        "",
        "`use` is a name, `name@distribution` where two distributions offer the same, `./file.py:Class` relative to the "
        "recipe (on the command line: to the current folder), or `package.module:Class`. In a network slot the class may be "
        "any `nn.Module`, with its arguments beside `use`.",
        "",
        "## [tricks]",
        "",
        "Any number of [tricks](plugins/trick.md), in the order in which they act: `[tricks.NAME]`, where NAME is the plugin "
        "unless `use` says otherwise, so that one may stand twice under two names.",
        "",
        "## [metrics]",
        "",
        "Any number of [metrics](plugins/measure.md), under names like the tricks'. They are taken every "
        "`evaluation.every` iterations, as far as `evaluation.budget` allows, and at the end, and see images through the "
        "plugin in the slot `extractor`, which is empty where nothing is measured.",
        "",
    ]
    return "\n".join(lines)


GAME = [
    "recipe",
    "device",
    "directory",
    "iteration",
    "step_counts",
    "values",
    "generator",
    "discriminator",
    "parameters",
    "optimizers",
    "spec",
    "dataset",
    "stop",
    "advise",
    "draw",
    "draw_reference",
    "draw_latent",
    "learning_rate",
]
"""What plugins use of the game; the rest is the core's own business."""

API = {
    "What plugins work with": {
        "gankit.plugin.base.Plugin": None,
        "gankit.plugin.base.Settings": None,
        "gankit.plugin.step.Step": None,
        "gankit.plugin.step.Term": None,
        "gankit.plugin.step.DiscriminatorOutput": None,
        "gankit.plugin.spec.Spec": None,
        "gankit.training.run.Game": GAME,
        "gankit.plugin.dataset.Dataset": None,
        "gankit.evaluation.comparison.Comparison": None,
        "gankit.evaluation.comparison.Extractor": None,
        "gankit.evaluation.comparison.Features": None,
        "gankit.plugin.extractor.network_extractor": None,
        "gankit.plugin.extractor.to_rgb": None,
        "gankit.evaluation.feature_cache.kept": None,
        "gankit.evaluation.feature_cache.cache_folder": None,
        "gankit.storage.atomic_io.write_bytes": None,
        "gankit.recipe.recipe.Recipe": None,
        "gankit.sampling.sampler.truncated": None,
    },
    "From Python": {
        "gankit.api.Session": None,
        "gankit.api.train": None,
        "gankit.api.resume": None,
        "gankit.api.Trained": None,
        "gankit.data.prepared.read_prepared": None,
        "gankit.errors.GankitError": None,
        "gankit.errors.InputError": None,
    },
    "gankit.testing": {
        **{
            f"gankit.testing.harness.{name}": None
            for name in ("tiny_run", "tiny_recipe", "play", "state_of", "learnt_by")
        },
        **{
            f"gankit.testing.checks.{name}": None
            for name in ("check_plugin", "check_documentation", "check_training", "check_effect", "check_resume")
        },
        **{
            f"gankit.testing.checks.{name}": None
            for name in (
                "check_repeat",
                "check_samples",
                "check_order",
                "check_dataset",
                "check_measure",
                "check_command",
                "devices",
            )
        },
    },
}
"""What is public, by chapter, and of which class only some members are shown."""


def api_page() -> str:
    """Every public name, with what its source says of it and of its members."""
    package = griffe.load("gankit", search_paths=[str(Path(__file__).parents[1])])
    lines = [
        f"{WRITTEN}# Names from Python",
        "",
        "What `from gankit import ...` offers, and `gankit.testing`. B is the batch size, C channels, R the resolution.",
        "",
    ]
    for chapter, members in API.items():
        lines += [f"## {chapter}", ""]
        for path, only in members.items():
            lines += described(package[path.removeprefix("gankit.")], only)
    return "\n".join(lines)


def described(found: griffe.Object, only: Sequence[str] | None) -> list[str]:
    """A class with its members, or a function."""
    lines = [f"### {found.name}", ""]
    if isinstance(found, griffe.Function):
        return [*lines, f"```python\n{called(found)}\n```", "", documented(found), ""]
    assert isinstance(found, griffe.Class)
    if "__init__" in found.members:
        lines += [f"```python\n{called(found['__init__'], found.name)}\n```", ""]
    lines += [documented(found), ""]
    shown = [found[name] for name in only if name in found.members] if only else list(found.members.values())
    public = [m for m in shown if not m.name.startswith("_") and not m.is_alias]
    rows = [f"- `{m.name}`{kept(m)}" for m in public if m.is_attribute]
    lines += [*rows, ""] if rows else []
    for method in public:
        if isinstance(method, griffe.Function):
            lines += [f"```python\n{called(method)}\n```", "", documented(method), ""]
    return lines


def kept(attribute: griffe.Object) -> str:
    """The type and the meaning of an attribute, as far as they are written down."""
    annotation = str(getattr(attribute, "annotation", None) or "").removeprefix("ClassVar[")
    typed = f" (`{annotation.removesuffix(']') if 'ClassVar' in str(attribute.annotation) else annotation}`)"
    said = f": {flowed(attribute.docstring.value)}" if attribute.docstring else ""
    return (typed if annotation else "") + said


def called(function: griffe.Function, name: str | None = None) -> str:
    """A signature; the class's name stands for its `__init__`."""
    arguments, starred = [], False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not starred:
            arguments.append("*")
            starred = True
        typed = f": {parameter.annotation}" if parameter.annotation is not None else ""
        unsaid = f" = {parameter.default}" if parameter.default is not None else ""
        arguments.append(f"{parameter.name}{typed}{unsaid}")
    returned = f" -> {function.returns}" if function.returns is not None and name is None else ""
    return f"{name or function.name}({', '.join(arguments)}){returned}"


def documented(found: griffe.Object) -> str:
    """A docstring, its sections as paragraphs of Markdown."""
    if found.docstring is None:
        return ""
    paragraphs = []
    for paragraph in re.split(r"\n\n", found.docstring.value):
        head, _, rest = paragraph.partition("\n")
        if head in ("Args:", "Raises:"):
            entries = re.split(r"\n(?=\S)", textwrap.dedent(rest))
            paragraphs.append("\n".join(f"- {'' if head == 'Args:' else 'raises '}{argument(e)}" for e in entries))
        elif paragraph.startswith("    "):
            paragraphs.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
        else:
            paragraphs.append(flowed(paragraph))
    return "\n\n".join(paragraphs)


def argument(entry: str) -> str:
    names, _, meaning = entry.partition(": ")
    return f"`{names}`: {flowed(meaning)}"


def settings_table(model: type[BaseModel]) -> list[str]:
    rows = [f"| `{name}` | {cell(text)} |" for name, text in setting_rows(model)]
    return ["| setting | what it is |", "| --- | --- |", *rows] if rows else ["No settings."]


def cell(text: str) -> str:
    return text.replace("|", r"\|")


def kind_page(kind: str, entries: list[Entry]) -> str:
    """Every plugin of a kind: what it does, its source, its settings."""
    assert kind in KINDS
    lines = [f"{WRITTEN}# {TITLES[kind]}", ""]
    for entry in entries:
        plugin_class: type[Plugin] = entry.load()
        text = re.sub(r"(?m)^(Source|When to use|When not):", r"**\1:**", inspect.cleandoc(plugin_class.__doc__ or ""))
        lines += [f"## {entry.name}", "", text.replace("\n**When not", "\n\n**When not"), ""]
        lines += [*settings_table(plugin_class.Config), ""]
        lines += [f"Hook points: {', '.join(f'[`{h}`](../hooks.md#{h})' for h in hooks_of(plugin_class))}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    out: Path = parser.parse_args().out
    for name, text in pages().items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
