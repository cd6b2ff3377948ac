"""What the README shows is what happens."""

import re
import shlex
from pathlib import Path

import click
import pytest

from gankit import Recipe
from gankit.cli import cli
from gankit.recipe.bundled import find_recipe
from gankit.recipe.toml import parse_overrides
from gankit.training.assembly import assemble
from gankit.training.update import train_iteration

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = ["data.count=24", "generator.channels=2", "discriminator.width=2", "train.batch_size=12", "train.device=cpu"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands():
    lines = [line.split(" #")[0].strip() for block in blocks("") for line in block.splitlines()]
    return [c for line in lines for c in line.split(" && ") if c.startswith("gankit ")]


def test_the_trick_runs_as_it_stands(tmp_path):
    trick = next(code for code in blocks("python") if "class LouderFakes" in code)
    (tmp_path / "louder.py").write_text(trick)
    switch = next(text for text in blocks("toml") if "louder" in text)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'extends = "{ROOT / "recipes" / "igan_vn.toml"}"\n{switch}')
    run = assemble(Recipe.load(recipe, SMALL))
    run.load_data()
    run.start()
    train_iteration(run)
    images, _ = run.draw()
    louder, _ = run.plugins["tricks.louder"].discriminator_inputs(images, None, "fake")
    assert louder.allclose(images * 1.2)


def test_python_code_runs_as_it_stands(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = next(code for code in blocks("python") if "Session" in code)
    code = code.replace('["train.batch_size=12"]', repr(SMALL)).replace("play(20)", "play(2)")
    code = code.replace('["train.iterations=20"]', repr([*SMALL, "train.iterations=2"]))
    exec(compile(code, "README.md", "exec"), {})
    assert "adversarial" in capsys.readouterr().out
    assert (tmp_path / "samples.png").exists()
    assert (tmp_path / "runs" / "mine" / "generator.safetensors").exists()


@pytest.mark.parametrize("command", commands())
def test_commands_are_ones_that_there_are(command):
    """Each verb and option exists, each recipe named is one that travels, each override is well formed."""
    _, verb, *arguments = shlex.split(command)
    context = click.Context(cli)
    found = cli.get_command(context, verb)
    assert found is not None
    parsed = found.make_context(verb, arguments, parent=context).params
    parse_overrides(parsed.get("overrides", ()))
    if verb == "run":
        find_recipe(parsed["recipe"])


def test_the_recipes_are_all_named():
    table = README[README.index("| recipe | trains |") :]
    for path in (ROOT / "recipes").glob("*.toml"):
        assert f"`{path.stem}`" in table


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_begin_with_what_they_train_and_how(path):
    header = path.read_text(encoding="utf-8").split("\nname")[0]
    assert header.splitlines()[1].startswith("# ")
    assert f"gankit run recipes/{path.name}" in header


@pytest.mark.parametrize(
    "path", ["README.md", *[f"recipes/{p.name}" for p in (ROOT / "recipes").glob("*.toml")], "docs/igan.md"]
)
def test_nothing_waits_to_be_filled_in(path):
    assert not re.search(r"MEASURE|TODO|[A-Z]+_(FIGURES|TABLE)", (ROOT / path).read_text(encoding="utf-8"))
