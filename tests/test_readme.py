"""Tests of the README: its code runs, its commands exist, its recipes are valid."""

import re
import shlex
from pathlib import Path

import click
import pytest

from gankit import Recipe
from gankit.cli import cli
from gankit.recipe.bundled import find_recipe
from gankit.recipe.toml import merge, parse_overrides, read_toml
from gankit.training.assembly import assemble
from gankit.training.update import train_iteration

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
SMALL = ["data.count=24", "generator.channels=2", "discriminator.width=2", "train.batch_size=12", "train.device=cpu"]


def blocks(language, text=README):
    # Blocks of all languages are matched, so that the end of one is not taken for the beginning of another.
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for of, block in found if of == language]


def lines():
    return [line.split(" #")[0].strip() for block in blocks("") for line in block.splitlines()]


def commands():
    return [line for line in lines() if line.startswith("gankit ")]


@pytest.fixture
def louder(tmp_path):
    """Folder with the plugin of the README."""
    (tmp_path / "louder.py").write_text(next(code for code in blocks("python") if "class LouderFakes" in code))
    return tmp_path


def test_trick_runs(louder):
    fragment = next(text for text in blocks("toml") if "louder" in text)
    recipe = louder / "mine.toml"
    recipe.write_text(f'extends = "{ROOT / "recipes" / "igan_vn.toml"}"\n{fragment}')
    run = assemble(Recipe.load(recipe, SMALL))
    run.load_data()
    run.start()
    train_iteration(run)
    images, _ = run.draw()
    changed, _ = run.plugins["tricks.louder"].discriminator_inputs(images, None, "fake")
    assert changed.allclose(images * 1.2)


def test_python_code_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = next(code for code in blocks("python") if "Session" in code)
    code = code.replace('["train.batch_size=12"]', repr(SMALL)).replace("train(20)", "train(2)")
    code = code.replace('["train.iterations=20"]', repr([*SMALL, "train.iterations=2"]))
    exec(compile(code, "README.md", "exec"), {})
    assert "adversarial" in capsys.readouterr().out
    assert (tmp_path / "samples.png").exists()
    assert (tmp_path / "runs" / "mine" / "generator.safetensors").exists()


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_fragments_of_recipes_are_valid(name, louder):
    fragments = blocks("toml", (ROOT / name).read_text(encoding="utf-8"))
    assert fragments
    for text in fragments:
        (louder / "fragment.toml").write_text(text)
        raw = merge(read_toml(find_recipe("igan_vn")), read_toml(louder / "fragment.toml"))
        Recipe.from_dict(raw, source=louder / "fragment.toml")


@pytest.mark.parametrize("command", commands())
def test_command_exists(command):
    """The verb and its options exist, a recipe is a bundled one, and each override is well formed."""
    _, verb, *arguments = shlex.split(command)
    context = click.Context(cli)
    found = cli.get_command(context, verb)
    assert found is not None
    parameters = found.make_context(verb, arguments, parent=context).params
    parse_overrides(parameters.get("overrides", ()))
    if verb in ("run", "validate", "ablate"):
        find_recipe(parameters["recipe"])


def test_installations_use_the_tested_versions():
    installations = [line for line in lines() if line.startswith("pip install")]
    assert all(line.startswith("pip install -c constraints.txt ") for line in installations)
    # The first one installs what a run needs, the last one is what .ci/run runs.
    assert installations[0] == "pip install -c constraints.txt ."
    assert installations[-1].endswith("&& pytest")


def test_all_recipes_are_listed():
    table = README[README.index("| recipe | trains |") :]
    for path in RECIPES:
        assert f"`{path.stem}`" in table


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_has_a_header_with_its_command(path):
    header = path.read_text(encoding="utf-8").split("\nname")[0]
    assert header.splitlines()[1].startswith("# ")
    assert f"gankit run recipes/{path.name}" in header


@pytest.mark.parametrize("path", [ROOT / "README.md", *RECIPES, ROOT / "docs" / "igan.md"], ids=lambda path: path.name)
def test_no_placeholder_is_left(path):
    assert not re.search(r"MEASURE|TODO|[A-Z]+_(FIGURES|TABLE)", path.read_text(encoding="utf-8"))
