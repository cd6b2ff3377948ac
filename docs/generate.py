"""Generator of the pages that come from the code: hook points, recipes, the Python API, and a page for each kind of plugin.

    python docs/generate.py [--out docs]

A test compares the files in docs/ with the output of this program.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import griffe
from pydantic import BaseModel

import gankit
from gankit.cli.settings_help import setting_rows
from gankit.plugin import hookspecs
from gankit.plugin.base import Plugin
from gankit.plugin.hooks import hooks_of
from gankit.plugin.registry import Entry, Registry
from gankit.plugin.schedule import Schedule
from gankit.plugin.slots import DEFAULT_USE, KINDS, PLAYER_SLOTS, SINGLE_SLOTS, TRICK_KINDS, Kind
from gankit.recipe.settings import Evaluation, Init, Output, Train

GENERATED = "<!-- Written by `python docs/generate.py`. -->\n\n"


class KindPage(NamedTuple):
    """Title and first lines of the page of one kind of plugin."""

    title: str
    example: str
    """Piece of a recipe, or a command."""

    text: str


IN_TRICKS = "They stand under `[tricks]` and act in the order of the tables."

KIND_PAGES: dict[Kind, KindPage] = {
    "data": KindPage("Datasets", '[data]\nuse = "images"\npath = "photos"', "The images that a run trains on."),
    "latent": KindPage("Latent priors", '[latent]\nuse = "uniform"\nsize = 100', "The distribution of z."),
    "generator": KindPage("Generators", '[generator]\nuse = "dcgan"', "The network that maps z to images."),
    "discriminator": KindPage(
        "Discriminators",
        '[discriminator]\nuse = "dcgan"',
        "The network that discriminates real images from generated ones.",
    ),
    "loss": KindPage("Losses", '[loss]\nuse = "hinge"', "The adversarial loss of both players."),
    "normalization": KindPage(
        "Normalisation layers",
        '[normalization]\ngenerator = "batch_norm"\ndiscriminator = "spectral_norm"',
        "One for each network.",
    ),
    "optimizer": KindPage("Optimisers", '[optimizer.generator]\nuse = "adam"\nlr = 3e-4', "One for each player."),
    "lr_schedule": KindPage(
        "Learning rate schedules",
        '[lr_schedule]\nuse = "inverse"',
        "A factor of the learning rate that depends on the iteration.",
    ),
    "penalty": KindPage(
        "Penalties", "[tricks.gradient_penalty]\nweight = 10.0", f"Terms that are added to a player's loss. {IN_TRICKS}"
    ),
    "augmentation": KindPage(
        "Augmentations", "[tricks.diff_augment]", f"Random changes of all images that enter D. {IN_TRICKS}"
    ),
    "trick": KindPage("Tricks", "[tricks.instance_noise]\nsigma = 0.1", f"All other techniques. {IN_TRICKS}"),
    "logger": KindPage(
        "Loggers",
        "[tricks.csv]",
        "Copies of the log, the grids and the recipe for other programs. They do not change the training. A logger that "
        f"cannot write warns once, and the run continues. {IN_TRICKS}",
    ),
    "extractor": KindPage(
        "Feature extractors",
        '[extractor]\nuse = "pixels"',
        "The function from images to features that [metrics](metric.md) compare.",
    ),
    "metric": KindPage(
        "Metrics",
        "[metrics.frechet_distance]",
        "Numbers that compare generated images with real ones; see [Metrics](../metrics.md).",
    ),
    "command": KindPage(
        "Commands",
        "",
        "A plugin of this kind adds a command to `gankit`. The hook point is "
        "[`register_commands`](../hooks.md#register_commands), and the entry point `command.NAME` has the name of the command. "
        "`gankit COMMAND --help` lists its options.",
    ),
}


def pages() -> dict[str, str]:
    """Return the text of each generated page, by its path in docs/."""
    entries = [entry for entry in Registry.installed().entries if entry.distribution == "gankit"]
    by_kind = {kind: [entry for entry in entries if entry.kind == kind] for kind in KINDS}
    fixed = {"hooks.md": hooks_page(entries), "recipe.md": recipe_page(by_kind), "api.md": api_page()}
    return fixed | {f"plugins/{kind}.md": kind_page(KIND_PAGES[kind], of_kind) for kind, of_kind in by_kind.items()}


def link(entry: Entry) -> str:
    return f"[`{entry.name}`](plugins/{entry.kind}.md#{entry.name})"


def hooks_page(entries: Iterable[Entry]) -> str:
    """Return the page of the hook points: the loop, then each hook point with its signature, an example and its users."""
    users: dict[str, list[str]] = {}
    for entry in entries:
        for hook in hooks_of(entry.load()):
            users.setdefault(hook, []).append(link(entry))
    text = inspect.cleandoc(hookspecs.__doc__ or "").partition("\n\n")[2]
    lines = [f"{GENERATED}# Hook points", "", markdown(text), ""]
    for name, kind in hookspecs.KIND_OF_HOOK.items():
        function = getattr(hookspecs, name)
        text, _, example = inspect.cleandoc(function.__doc__).partition("Example:\n")
        lines += [f"## {name}", "", code(signature(name, function)), "", f"*{kind}.* {markdown(text)}", ""]
        lines += [code(textwrap.dedent(example).strip()), ""]
        if users.get(name):
            lines += [f"Used by {', '.join(users[name])}.", ""]
    return "\n".join(lines)


def code(text: str) -> str:
    return f"```python\n{text}\n```"


def signature(name: str, function: Callable[..., object]) -> str:
    """Return a function's parameters and return type as in the source."""
    found = inspect.signature(function)
    returned = f" -> {found.return_annotation}" if found.return_annotation is not inspect.Signature.empty else ""
    return on_lines(name, [str(p) for p in found.parameters.values()], returned).replace("'", "")


def on_lines(name: str, arguments: Sequence[str], returned: str) -> str:
    """Return a signature on one line, or with one line for each argument if it is long."""
    line = f"{name}({', '.join(arguments)}){returned}"
    return line if len(line) <= 80 else "\n".join([f"{name}(", *(f"    {a}," for a in arguments), f"){returned}"])


def recipe_page(by_kind: dict[Kind, list[Entry]]) -> str:
    """Return the page of the recipe: the tables of the core, and the slots that plugins fill."""
    slots = []
    for kind in (*SINGLE_SLOTS, *PLAYER_SLOTS, "extractor"):
        keys = [f"{kind}.generator", f"{kind}.discriminator"] if kind in PLAYER_SLOTS else [kind]
        default = f"`{DEFAULT_USE[kind]}`" if kind in DEFAULT_USE else "none: required"
        slots.append(
            f"| {', '.join(f'`{key}`' for key in keys)} | {default} | {', '.join(link(e) for e in by_kind[kind])} |"
        )
    tricks = [f"- [{KIND_PAGES[k].title}](plugins/{k}.md): {', '.join(map(link, by_kind[k]))}" for k in TRICK_KINDS]
    lines = [
        f"{GENERATED}# Recipes",
        "",
        "A recipe is a TOML file:",
        "",
        '```toml\nname = "mine"\nseed = 1\nextends = "igan_vn.toml"\n\n[train]\nbatch_size = 48\n\n'
        '[loss]\nuse = "hinge"\n\n[optimizer.generator]\nlr = 1e-4\n\n[tricks.r1]\ngamma = 1.0\n```',
        "",
        "Unknown keys are errors. `gankit validate RECIPE` lists all errors of a recipe at once. On the command line "
        "`key=value` replaces a setting, with a TOML value, and `--drop KEY` removes a key or a table.",
        "",
        "| key | meaning |",
        "| --- | --- |",
        "| `name` | name of the run; default: the name of the file |",
        "| `seed` | seed of all random numbers; default: 0 |",
        "| `extends` | another recipe: a path relative to this one, or the name of a recipe of gankit; the tables of this one are merged into it |",
        '| `drop` | keys of the extended recipe that this one removes: `["tricks.r1", "metrics"]` |',
        '| `order` | names of all tricks, in the order in which they are called: `["r1", "flip"]`; default: the order of the tables, '
        "those of the extended recipe first |",
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
        "## [init]",
        "",
        "Networks of a new run may [start from trained ones](start-from-trained.md). Each key except `map` is the name of a network of the run, "
        "and its value is the path of a file, a checkpoint or a run: `generator = \"runs/old\"`.",
        "",
        *settings_table(Init),
        "",
        "## Slots",
        "",
        '```toml\nloss = "hinge"\n\n[generator]\nuse = "igan_vn"\nchannels = 32\n```',
        "",
        "One plugin fills each slot. Write its name, or a table with `use` and the settings of the plugin.",
        "",
        "| slot | default | plugins of gankit |",
        "| --- | --- | --- |",
        *slots,
        "",
        "`use` is one of these:",
        "",
        "- a name: `hinge`;",
        "- `name@distribution`, if two distributions have a plugin of this name;",
        "- `./file.py:Class`;",
        "- `package.module:Class`.",
        "",
        "All relative paths, of plugin files and of data, are relative to the folder of the file in which they stand. On "
        "the command line, and in a recipe that comes with gankit, they are relative to the current folder. A run stores "
        "absolute paths, so it can be resumed from any folder.",
        "",
        "In the slots `generator` and `discriminator` the class may be any `nn.Module`. Its arguments stand next to `use`.",
        "",
        "## [tricks]",
        "",
        "```toml\n[tricks.label_smoothing]\nreal = 0.9\n\n[tricks.noise]\nuse = \"instance_noise\"\nsigma = 0.1\n```",
        "",
        "Any number of plugins, in the order in which they act. The name of the table is the name of the plugin. With `use` it "
        "can be any name, so one plugin can be used twice. These kinds stand here:",
        "",
        *tricks,
        "",
        "## Schedules",
        "",
        "```toml\n[tricks.r1]\n"
        'gamma = { schedule = "cosine", start = 10.0, end = 1.0 }\n'
        "\n[tricks.instance_noise]\n"
        'sigma = { schedule = "linear", start = 0.1, end = 0.0, until = 1500 }\n```',
        "",
        "A setting of type `float or schedule` may change during the training. The log, the report and loggers show its value, "
        "as `tricks.r1.gamma`: that of the next iteration. Learning rates have their own slot, `lr_schedule`.",
        "",
        *settings_table(Schedule),
        "",
        "## [metrics]",
        "",
        "```toml\n[metrics.frechet_distance]\n[metrics.precision_recall]\nk = 5\n```",
        "",
        "Any number of [metrics](plugins/metric.md), named like tricks. They are computed every `evaluation.every` iterations, "
        "as far as `evaluation.budget` allows, and at the end. They use the features of the plugin in the slot `extractor`. "
        "See [Metrics](metrics.md).",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


PYTHON_NAMES = [
    "Session",
    "train",
    "resume",
    "Trained",
    "iteration_cost",
    "Cost",
    "step_memory",
    "StepMemory",
    "Recipe",
    "find_recipe",
    "load_dataset",
    "prepare",
    "read_prepared",
    "sample_grid",
    "augment_dataset",
    "AugmentedDataset",
    "project",
    "Projection",
    "sampling.projection.LatentPoint",
    "explain",
    "Explanation",
    "explanation.explain.Share",
    "explanation.explain.Unit",
    "explanation.explain.Ablation",
    "explanation.layers.Layer",
    "GankitError",
    "InputError",
    "find_directions",
    "load_directions",
    "Directions",
    "audit",
    "Audit",
    "Attack",
    "evaluation.membership.Auc",
    "merge",
    "weighted_average",
    "compress",
    "Compression",
    "sampling.pruning.Pruned",
    "benchmark",
    "Speed",
    "sampling.benchmark.Latency",
]
"""Names of the package for scripts and notebooks."""

PLUGIN_NAMES = [
    "Plugin",
    "Settings",
    "hookimpl",
    "Run",
    "RecipeInfo",
    "plugin.protocols.TrainSettings",
    "plugin.protocols.StyleBased",
    "runtime.ranks.Ranks",
    "Player",
    "Step",
    "Source",
    "LossTerm",
    "Scheduled",
    "Schedule",
    "value_at",
    "DiscriminatorOutput",
    "match_logits",
    "Spec",
    "Condition",
    "ClassCondition",
    "VectorCondition",
    "TokenCondition",
    "ImageCondition",
    "Dataset",
    "FileFacts",
    "Rows",
    "Comparison",
    "plugin.comparison.Samples",
    "ExtraNetwork",
    "Extractor",
    "Features",
    "network_extractor",
    "to_rgb",
    "as_input",
    "to_bytes",
    "to_image",
    "write_gif",
    "RecipePath",
    "DataTable",
    "Sampler",
    "truncated",
    "disk_cache",
    "progress_bar",
    "cache_folder",
    "write_bytes",
    "write_gif",
    "as_input",
    "to_bytes",
    "to_image",
]
"""Names of the package for plugins, and the classes that are reached through them, with their modules."""

ONLY = {"Ranks": ["rank", "size", "mean"]}
"""Public members of classes of which the others are internal."""


def api_page() -> str:
    """Return the page of all public names, with the docstrings of the names and of their members."""
    package = griffe.load("gankit", search_paths=[str(Path(__file__).parents[1])])
    missing = {*gankit.__all__} - {*PYTHON_NAMES, *PLUGIN_NAMES, "API_VERSION", "__version__"}
    assert not missing, f"docs/generate.py: add {missing} to the page of the Python API"
    testing = package["testing"]
    chapters = [
        ("Scripts and notebooks", "`from gankit import Session`", [package[name] for name in PYTHON_NAMES]),
        ("Plugins", "`from gankit import Plugin`", [package[name] for name in PLUGIN_NAMES]),
        ("Tests of plugins", "`from gankit.testing import check_plugin`", [testing[n] for n in testing.exports]),
    ]
    lines = [
        f"{GENERATED}# Python API",
        "",
        "All public names. Everything else may change. In shapes, B is the batch size, C the number of channels and R the "
        "resolution.",
        "",
    ]
    for title, text, members in chapters:
        lines += [f"## {title}", "", text, ""]
        for member in members:
            lines += described(member.final_target if member.is_alias else member)
    return "\n".join(lines)


def described(member: griffe.Object) -> list[str]:
    """Return the section of a class with its members, of a function, or of an attribute."""
    lines = [f"### {member.name}", ""]
    if isinstance(member, griffe.Function):
        return [*lines, code(call(member)), "", docstring(member), ""]
    if not isinstance(member, griffe.Class):
        value = str(getattr(member, "value", "...")).replace("'", '"')
        return [*lines, code(f"{member.name} = {value}"), "", docstring(member), ""]
    if "__init__" in member.members:
        lines += [code(call(member["__init__"], member.name)), ""]
    lines += [docstring(member), ""]
    # The members of a protocol are all that there is to use, so those of its bases are shown too.
    everything = {**member.members, **member.inherited_members} if is_protocol(member) else member.members
    public = [m for m in everything.values() if not m.name.startswith("_") and not is_import(m)]
    public = [m for m in public if m.name in ONLY.get(member.name, (m.name,))]
    rows = [f"- `{m.name}`{attribute(m)}" for m in public if m.is_attribute]
    lines += ["Attributes:", "", *rows, ""] if rows else []
    for method in public:
        if method.is_function and isinstance(method, griffe.Function | griffe.Alias):
            lines += [code(call(method)), "", docstring(method), ""]
    return lines


def is_protocol(member: griffe.Class) -> bool:
    return "Protocol" in map(str, member.bases)


def is_import(member: griffe.Object | griffe.Alias) -> bool:
    return member.is_alias and not getattr(member, "inherited", False)


def attribute(member: griffe.Object | griffe.Alias) -> str:
    """Return the type and the docstring of an attribute, as far as it has them."""
    annotation = re.sub(r"^ClassVar\[(.*)\]$", r"\1", str(getattr(member, "annotation", None) or ""))
    text = " ".join(member.docstring.value.split()) if member.docstring else ""
    return (f" (`{annotation}`)" if annotation else "") + (f": {text}" if text else "")


def call(function: griffe.Function | griffe.Alias, name: str | None = None) -> str:
    """Return a signature. The name of the class replaces `__init__`."""
    arguments, starred = [], False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not starred:
            arguments.append("*")
            starred = True
        annotation = f": {parameter.annotation}" if parameter.annotation is not None else ""
        default = f" = {parameter.default}" if parameter.default is not None else ""
        arguments.append(f"{parameter.name}{annotation}{default}")
    returned = f" -> {function.returns}" if function.returns is not None and name is None else ""
    return on_lines(name or function.name, arguments, returned)


def docstring(member: griffe.Object | griffe.Alias) -> str:
    return markdown(member.docstring.value) if member.docstring else ""


def markdown(text: str) -> str:
    """Return a docstring as Markdown: paragraphs on one line, sections as lists, indented blocks as code."""
    # A code block may have blank lines; the next line that is not indented ends it.
    blocks = re.findall(r"(?:^    .*\n*)+|(?:^(?! {4}).+\n?(?:^ {4,}.*\n?)*)+", text.strip("\n"), re.MULTILINE)
    return "\n\n".join(block_markdown(block.rstrip()) for block in blocks)


def block_markdown(block: str) -> str:
    head, _, rest = block.partition("\n")
    if head in ("Args:", "Raises:"):
        entries = re.split(r"\n(?=\S)", textwrap.dedent(rest))
        return "\n".join([head.replace("Args", "Arguments"), "", *(f"- {argument(e)}" for e in entries)])
    if block.startswith("    "):
        return code(textwrap.dedent(block))
    if head.startswith("- "):
        return "\n".join(flow(item) for item in re.split(r"\n(?=- )", block))
    return flow(block)


def flow(text: str) -> str:
    """Return paragraphs with each on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def argument(entry: str) -> str:
    names, _, meaning = entry.partition(": ")
    return f"`{names}`: {flow(meaning)}"


def settings_table(model: type[BaseModel]) -> list[str]:
    rows = [f"| `{name}` | {cell(text)} |" for name, text in setting_rows(model)]
    return ["| setting | type, default, meaning |", "| --- | --- |", *rows] if rows else ["No settings."]


def cell(text: str) -> str:
    return text.replace("|", r"\|")


def kind_page(page: KindPage, entries: Sequence[Entry]) -> str:
    """Return the page of one kind: an example, and each plugin with its docstring, settings and hook points."""
    lines = [f"{GENERATED}# {page.title}", ""]
    if page.example:
        lines += [f"```toml\n{page.example}\n```", ""]
    lines += [page.text, ""]
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
