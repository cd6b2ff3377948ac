"""What the documentation shows is what happens: every file in it is written, every command typed."""

import importlib.util
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from gankit import Recipe
from gankit.cli import cli
from gankit.plugin.hookspecs import KIND_OF_HOOK
from gankit.recipe.bundled import find_recipe
from gankit.recipe.toml import merge, read_toml
from tests.gankit.cli.test_ablate import train_in_this_process

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

GENERATED = [
    "hooks.md",
    "recipe.md",
    "api.md",
    "together.md",
    *[str(path.relative_to(DOCS)) for path in DOCS.glob("plugins/*.md")],
]
"""Their examples are the docstrings', with names of things that only a reader has."""

TUTORIALS = sorted({path.name for path in DOCS.glob("*.md")} - set(GENERATED))
BLOCK = re.compile(r"^```([\w]*)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
TINY = ["train.iterations=2", "train.device=cpu", "output.sample_count=6"]
SMALL_NETWORKS = ["generator.channels=2", "discriminator.width=2", "train.batch_size=12", "data.count=24"]
NEEDS_PHOTOS = ["data.path=photos", "path=photos"]

_spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


def commands_of(text):
    return [line.split(" #")[0].strip() for line in text.splitlines() if line.strip()]


def smaller(arguments):
    """A training command, cut down to a test's size."""
    if arguments[0] == "ablate":
        return smaller_study(arguments)
    if arguments[0] not in ("run", "resume", "validate"):
        return arguments
    if arguments[0] == "resume":
        return [*(a for a in arguments if not a.startswith("train.iterations")), "train.iterations=3"]
    network = not {"nets.toml", "gaussian_ring"} & set(arguments)
    kept = [a for a in arguments if not a.startswith(("train.iterations", "train.batch_size"))]
    own_data = any(a.startswith(("data.use", "data.path")) for a in arguments)
    small = [o for o in SMALL_NETWORKS if not (own_data and o.startswith("data."))] if network else []
    extra = [o for o in [*TINY, *small] if not (arguments[0] == "validate" and o.startswith("output"))]
    return [*kept, *extra]


def smaller_study(arguments):
    """A study of one seed, or two, of the smallest runs."""
    if Path(arguments[1]).is_dir():
        return arguments if "--seeds" not in arguments else [*arguments[:2], "--seeds", "2"]
    kept = [a for a in arguments if not a.startswith("train.iterations")]
    if "--seeds" in kept:
        del kept[kept.index("--seeds") : kept.index("--seeds") + 2]
    small = SMALL_NETWORKS if "igan_vn" in arguments else []
    return [*kept, "--seeds", "1", *TINY, *small]


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_works_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, names = Recipe.load, {}

    def small(path, overrides=(), drop=(), registry=None):
        own = [o for o in (*overrides, *TINY, *SMALL_NETWORKS) if not o.startswith("train.batch_size=12")]
        return whole(path, own, drop, registry)

    for language, title, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if title:
            (tmp_path / title).write_text(text)
        elif language == "":
            for command in commands_of(text):
                typed(command, tmp_path)
        elif language == "python":
            CliRunner().invoke(cli, ["recipes", "copy", "igan_vn", "mine.toml"])
            with monkeypatch.context() as patched:
                patched.setattr(Recipe, "load", small)
                exec(compile(text, page, "exec"), names)
        else:
            assert language == "toml", language
            table = tmp_path / "table.toml"
            table.write_text(text)
            fits_a_recipe(table)


def fits_a_recipe(table):
    """A piece of a recipe has keys and values that gankit knows, and names plugins that there are."""
    raw = read_toml(table)
    raw.pop("requires", None)  # distributions that a reader may have
    Recipe.from_dict(merge(read_toml(find_recipe("igan_vn")), raw), source=table)


def typed(command, folder):
    program, *arguments = shlex.split(command)
    if program == "pip" or any(photos in arguments for photos in NEEDS_PHOTOS):
        return
    if program == "torchrun":
        # One process does what several do; tests/gankit/test_ranks.py starts those.
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    if program == "pytest":
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", *arguments], cwd=folder, capture_output=True)
        assert done.returncode == 0, done.stdout.decode()
        return
    assert program == "gankit", command
    if any("quiet_fakes." in argument for argument in arguments):
        # Is there only once the package is installed; the package's own tests have just played it.
        arguments = [a for a in arguments if "quiet_fakes." not in a]
    # A process for each run of a study would take longer than all other commands together.
    with train_in_this_process() if arguments[0] == "ablate" else nullcontext():
        result = CliRunner().invoke(cli, smaller(arguments), standalone_mode=False)
    assert result.exit_code == 0, f"{command}: {result.exception!r} {result.output}"


@pytest.mark.parametrize("page", sorted(generate.pages()))
def test_generated_pages_are_as_the_code_says(page):
    """When this fails: `python docs/generate.py`."""
    assert (DOCS / page).read_text(encoding="utf-8") == generate.pages()[page]


@pytest.mark.parametrize("hook", KIND_OF_HOOK)
def test_every_hook_point_is_documented_with_an_example_and_tested(hook):
    page = (DOCS / "hooks.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {hook}\n")[1].split("\n## ")[0]
    assert section.count("```python") == 2
    assert f"def {hook}(self" in section
    # A plugin of each version of the hook points; each sealed when the version is out.
    versions = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "frozen").glob("api_*.py")]
    assert any(f"def {hook}(self" in version for version in versions)


PAGES = [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md"]


def anchors(path):
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        path = page if not name else page.parent / name
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_every_page_stands_in_the_navigation():
    listed = set(re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def test_the_chinese_readme_shows_the_same_commands():
    """Whatever it shows is in the English one too, but for what is said behind the '#'."""

    def commands(name):
        blocks = BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))
        return {c for language, _, text in blocks if language == "" for c in commands_of(text)}

    assert commands("README.zh.md") <= commands("README.md")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_pieces_of_recipes_in_the_readme_are_right(name, tmp_path):
    pieces = [
        text for language, _, text in BLOCK.findall((ROOT / name).read_text(encoding="utf-8")) if language == "toml"
    ]
    assert pieces
    code = next(
        text for _, _, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")) if "class Loud" in text
    )
    (tmp_path / "louder.py").write_text(code)
    for number, text in enumerate(pieces):
        (tmp_path / f"{number}.toml").write_text(text)
        fits_a_recipe(tmp_path / f"{number}.toml")
