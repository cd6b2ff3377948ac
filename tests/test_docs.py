"""Tests of the documentation: its commands and code run, its recipes are valid, its links exist."""

import importlib.util
import re
import shlex
import sys
import wave
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gankit import Recipe
from gankit.ablation.search_space import parse_variations
from gankit.ablation.variants import add_each, drop_each
from gankit.cli import cli
from gankit.plugin.hookspecs import KIND_OF_HOOK
from gankit.recipe.bundled import find_recipe
from gankit.recipe.toml import merge, parse_overrides, read_toml
from gankit.training.assembly import assemble
from gankit.training.update import train_iteration

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README, README_ZH = ROOT / "README.md", ROOT / "README.zh.md"
PAGES = [*DOCS.rglob("*.md"), README, README_ZH, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
BLOCK = re.compile(r"^```([\w]*)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = [
    "train.iterations=2",
    "train.device=cpu",
    "train.batch_size=12",
    "output.sample_count=6",
    "generator.channels=2",
    "discriminator.width=2",
    "data.count=24",
    "evaluation.count=8",
]

_spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)
pages = cache(generate.pages)

# Their examples are docstrings, with names that only a reader's plugin has. combinations.md has no commands.
GENERATED = [*pages(), "combinations.md"]
# The Chinese page has the commands of the English one; a test compares them.
TUTORIALS = sorted({path.name for path in DOCS.glob("*.md")} - {*GENERATED, "first-run.zh.md"})


def blocks(path):
    """Return the language, title and text of every code block."""
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def commands(path):
    """Return the command lines of a page, without their comments."""
    return [
        line.split(" #")[0].strip()
        for language, _, text in blocks(path)
        if language == ""
        for line in text.splitlines()
        if line.strip()
    ]


def small(overrides, *, networks=True):
    """Return the overrides of a small run. Those of a page that make it larger are replaced."""
    own_data = any(o.startswith(("data.use", "data.path")) for o in overrides)
    left_out = () if networks else ("generator.", "discriminator.", "data.", "train.batch_size")
    left_out += ("data.",) if own_data else ()
    settings = [o for o in SMALL if not o.startswith(left_out)] if left_out else SMALL
    sizes = tuple(f"{o.partition('=')[0]}=" for o in settings)
    return [*(o for o in overrides if not o.startswith(sizes)), *settings]


def block_of_readme(language, content):
    return next(text for of, _, text in blocks(README) if of == language and content in text)


@pytest.fixture
def louder(tmp_path):
    """Folder with the plugin of the README."""
    (tmp_path / "louder.py").write_text(block_of_readme("python", "class LouderFakes"))
    return tmp_path


@pytest.mark.parametrize("page", TUTORIALS)
def test_tutorial_works_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    if page == "audio.md":
        write_recordings(tmp_path / "recordings")
    names, absent = {}, set()
    for language, title, text in blocks(DOCS / page):
        if title:
            (tmp_path / title).write_text(text)
        elif language == "":
            for line in text.splitlines():
                arguments = shlex.split(line.split(" #")[0])
                if needs_more(arguments):
                    absent.update(argument for argument in arguments if argument.startswith("runs/"))
                elif not absent & set(arguments):
                    run_command(line.split(" #")[0].strip(), tmp_path)
        elif language == "python":
            run_code(text, names, monkeypatch)
        else:
            assert language == "toml", language
            check_fragment(text, tmp_path)


OWN_NETWORKS = {
    "nets.toml",
    "private.toml",
    "gaussian_ring",
    "conditional_dcgan_mnist",
    "wavegan_sounds",
    "video_shapes",
    "explained.toml",
}
OWN_NETWORKS |= {"stackgan_shapes", "stackgan2_shapes", "attributes_bars", "ctgan_table", "wgan_gp_lines"}
OWN_NETWORKS |= {"image_and_mask_shapes"}
"""Recipes whose networks have other settings than those in `SMALL`."""

OWN_SOUNDS = ("data.path=recordings", "data.path=sounds.safetensors")


def write_recordings(folder):
    """Write the folder of sounds that a page uses."""
    folder.mkdir()
    for number in range(40):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes((number * i) % 256 for i in range(400)))


def run_code(text, names, monkeypatch):
    """Execute a block of Python with small networks and few iterations."""
    load = Recipe.load
    CliRunner().invoke(cli, ["recipes", "copy", "igan_vn", "mine.toml"])
    text = re.sub(r"session\.train\(\d+\)", "session.train(2)", text)
    text = text.replace('resume("runs/mine", ["train.iterations=30"])', 'resume("runs/mine", ["train.iterations=3"])')
    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "load", lambda path, overrides=(), drop=(): load(path, small(overrides), drop))
        exec(compile(text, "docs", "exec"), names)


def check_fragment(text, folder):
    """Check that a fragment of a recipe has only keys, values and plugins that exist."""
    path = folder / "fragment.toml"
    path.write_text(re.sub("^extends = .*\n", "", text, flags=re.MULTILINE))
    raw = read_toml(path)
    raw.pop("requires", None)  # distributions that are not installed here
    Recipe.from_dict(merge(read_toml(find_recipe("igan_vn")), raw), source=path)


def needs_more(arguments):
    """Return True for the arguments of a command that needs a package or data that are not here."""
    return any(
        a in ("new-recipe", "photos.toml", "wavegan_paper")
        or "path=photos" in a
        or ("data.path=" in a and not a.startswith(OWN_SOUNDS))
        or a.startswith(("data.hub=", "data.source", "data.images.", "source="))
        or ".quiet_fakes." in a
        for a in arguments
    )


def run_command(command, folder):
    """Run a command of a page, if it is one of gankit or pytest, as a small run in this process."""
    program, *arguments = shlex.split(command) or [""]
    if program in ("", "pip", "ssh") or needs_more(arguments):
        return
    if program == "torchrun":
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    if command == "pytest gankit-quiet-fakes":
        return  # tests/gankit/cli/test_new_plugin.py runs the tests of a new package
    if program == "pytest":
        assert pytest.main(["-q", "-p", "no:cacheprovider", *arguments]) == 0
        for file in folder.rglob("*.py"):
            sys.modules.pop(file.stem, None)
        return
    assert program == "gankit", command
    if arguments[0] == "ablate":
        check_study(arguments[1:])
        return
    if arguments[0] == "augment-dataset" and "classifier" in arguments:
        # The generators here are hardly trained, so a classifier accepts too few images. Check only the options.
        cli.get_command(click.Context(cli), "augment-dataset").make_context("augment-dataset", arguments[1:])
        return
    if arguments[0] == "demo":
        # The command serves a page until Ctrl-C. Check only that its options exist.
        cli.get_command(click.Context(cli), "demo").make_context("demo", arguments[1:])
        return
    if arguments[0] == "search":
        check_search(arguments[1:])
        return
    if arguments[0] == "resume":
        arguments = [*(a for a in arguments if not a.startswith("train.iterations")), "train.iterations=3"]
    if arguments[0] == "watch":
        arguments = ["watch", arguments[1], "--terminal"]  # stdout is no terminal, so the command ends at once
    if arguments[0] == "project":
        arguments += ["--steps", "2"]
    if arguments[0] == "compress":
        arguments += ["--iterations", "2", "--count", "8"]
    if arguments[0] == "benchmark":
        arguments += ["--seconds", "0.01"]
    if arguments[0] == "eval":
        arguments.append("evaluation.count=8")
    if arguments[0] == "explain":
        arguments += ["--count", "2"]
    if arguments[0] == "audit":
        arguments += ["--count", "8", "--generated", "20"]
    if arguments[0] == "directions":
        arguments += ["--samples", "5", "--count", "4", "--steps", "3"]
    if arguments[0] == "federated":
        arguments += ["--rounds", "2", "train.iterations=2", "data.count=60", "evaluation.count=8"]
    if arguments[0] == "sample" and "--direction" in arguments:
        arguments += ["--count", "6"]
    if arguments[0] in ("run", "validate"):
        own = any(argument.startswith("generator.use=./") for argument in arguments)
        networks = not own and not OWN_NETWORKS & set(arguments)
        settings = small([a for a in arguments if "=" in a], networks=networks)
        arguments = [*(a for a in arguments if "=" not in a), *settings]
        if "explained.toml" in arguments:
            arguments += ["data.count=24", "generator.width=2", "discriminator.width=2"]
        if "video_shapes" in arguments:
            arguments += ["data.count=24", "generator.width=2", "discriminator.width=2"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exit_code == 0, f"{command}: {result.exception!r} {result.output}"


def check_study(arguments):
    """Check that a study can begin: its options exist, and each of its variants can be assembled."""
    command = cli.get_command(click.Context(cli), "ablate")
    asked = command.make_context("ablate", list(arguments)).params
    if asked["recipe"] == "study":
        return  # continues the study of the command before
    networks = asked["recipe"] != "gaussian_ring"
    recipe = Recipe.load(find_recipe(asked["recipe"]), small(asked["overrides"], networks=networks), asked["drop"])
    variants = add_each(recipe, asked["add"]) if asked["add"] else drop_each(recipe, asked["only"])
    assert len(variants) > 1
    for variant in variants:
        assemble(variant.recipe)


def check_search(arguments):
    """Check that a search can begin: its options exist, and its recipe accepts the values of --vary."""
    command = cli.get_command(click.Context(cli), "search")
    asked = command.make_context("search", list(arguments)).params
    if asked["recipe"].startswith("runs/"):
        return  # continues the search of a command before
    space = parse_variations(
        Recipe.load(find_recipe(asked["recipe"]), asked["overrides"], asked["drop"]), asked["vary"]
    )
    assert len(space) == len(asked["vary"])


def test_chinese_pages_have_the_commands_of_the_english_ones():
    assert commands(DOCS / "first-run.zh.md") == commands(DOCS / "first-run.md")
    assert {*commands(README_ZH)} <= {*commands(README)}


@pytest.mark.parametrize("page", pages())
def test_generated_page_is_up_to_date(page):
    """If this fails: `python docs/generate.py`."""
    assert (DOCS / page).read_text(encoding="utf-8") == pages()[page]


def test_no_generated_page_is_left_over():
    assert {f"plugins/{path.name}" for path in DOCS.glob("plugins/*")} <= set(pages())


WITH_FRAGMENTS = [DOCS / page for page in pages() if page.startswith(("plugins/", "recipe"))]


@pytest.mark.parametrize("page", [*WITH_FRAGMENTS, README, README_ZH], ids=lambda path: path.name)
def test_fragments_of_recipes_are_valid(page, louder):
    for language, _, text in blocks(page):
        if language == "toml":
            check_fragment(text, louder)


@pytest.mark.parametrize("hook", KIND_OF_HOOK)
def test_hook_point_has_an_example_and_a_frozen_plugin(hook):
    section = pages()["hooks.md"].split(f"\n## {hook}\n")[1].split("\n## ")[0]
    assert section.count("```python") == 2
    assert f"def {hook}(self" in section
    # A plugin for each version of the hook points, which no longer changes after the release.
    versions = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "frozen").glob("api_*.py")]
    assert any(f"def {hook}(self" in version for version in versions)


@cache
def anchors(path):
    """Return the headings of a page as links name them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        path = page if not name else (page.parent / name).resolve()
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_blocks_are_closed(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    assert not re.findall(r"^ *```.*|^ +#+ [A-Z].*", text, re.MULTILINE), "an open block, or an indented heading"


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_trick_runs(louder):
    recipe = louder / "mine.toml"
    recipe.write_text(f'extends = "{ROOT / "recipes" / "igan_vn.toml"}"\n{block_of_readme("toml", "louder")}')
    run = assemble(Recipe.load(recipe, SMALL))
    run.load_data()
    run.start()
    train_iteration(run)
    images = run.draw_real().images
    changed, _ = run.plugins["tricks.louder"].discriminator_inputs(images, None, "fake")
    assert changed.allclose(images * 1.2)


def test_python_code_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = block_of_readme("python", "Session").replace("train(20)", "train(2)")
    code = code.replace('["train.batch_size=12"]', repr(SMALL)).replace('["train.iterations=20"]', repr(SMALL))
    exec(compile(code, "README.md", "exec"), {})
    assert "adversarial" in capsys.readouterr().out
    assert (tmp_path / "samples.png").exists()
    assert (tmp_path / "runs" / "mine" / "generator.safetensors").exists()


@pytest.mark.parametrize("command", [line for line in commands(README) if line.startswith("gankit ")])
def test_command_exists(command):
    """The command and its options exist, a recipe is a bundled one, and each override is well formed."""
    _, name, *arguments = shlex.split(command)
    context = click.Context(cli)
    found = cli.get_command(context, name)
    assert found is not None
    parameters = found.make_context(name, arguments, parent=context).params
    parse_overrides(parameters.get("overrides", ()))
    if name in ("run", "validate", "ablate", "search"):
        find_recipe(parameters["recipe"])


def test_installations_use_the_tested_versions():
    installations = [line for line in commands(README) if line.startswith("pip install")]
    assert all(line.startswith("pip install -c constraints.txt ") for line in installations)
    # The first one installs what a run needs, the last one is what .ci/run runs.
    assert installations[0] == "pip install -c constraints.txt ."
    assert installations[-1].endswith("&& pytest")


def test_all_recipes_are_listed():
    table = README.read_text(encoding="utf-8").partition("| recipe | trains |")[2]
    for path in RECIPES:
        assert f"`{path.stem}`" in table


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_has_a_header_with_its_command(path):
    header = path.read_text(encoding="utf-8").split("\nname")[0]
    assert header.splitlines()[1].startswith("# ")
    assert f"gankit run recipes/{path.name}" in header
