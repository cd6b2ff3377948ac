"""`list-plugins` and `describe`."""

import json
import time

import pytest

KIT = '''
from pathlib import Path
from typing import Annotated, Literal
from pydantic import Field
from gankit import Plugin, Settings, hookimpl


class Knob(Settings):
    turn: int = 3


class Fine(Plugin):
    """Does [very] little.

    Source: nobody, 2026.
    """

    name = "fine"

    class Config(Settings):
        sigma: float = Field(0.1, ge=0, lt=1, description="how little")
        steps: int = Field(gt=0, multiple_of=2, description="how often")
        shape: Literal["round", "square"] = "round"
        over: int | None = None
        betas: tuple[Annotated[float, Field(ge=0)], float] = (0.5, 0.9)
        layers: list[int] = Field(default_factory=lambda: [1, 2], min_length=1)
        folder: Path | None = Field(None, description="where")
        knob: Knob = Knob()

    @hookimpl
    def before_d_step(self, step):
        pass

    @hookimpl
    def after_iteration(self):
        pass


class Misspelt(Plugin):
    """Never called."""

    name = "misspelt"

    @hookimpl
    def before_d_stp(self, step):
        pass


class WrongArgument(Plugin):
    name = "wrong_argument"

    @hookimpl
    def before_d_step(self, stage):
        pass


class Nameless(Plugin):
    pass


class Bare(Plugin):
    name, kind = "bare", "latent"
'''

ENTRY_POINTS = {
    "trick.fine": "kit:Fine",
    "trick.gone": "no_such_module:Gone",
    "trick.crash": "kit_that_crashes:Crash",
    "trick.misspelt": "kit:Misspelt",
    "trick.wrong_argument": "kit:WrongArgument",
    "trick.nameless": "kit:Nameless",
    "loss.misplaced": "kit:Fine",
    "trick.no_class": "kit:Path.cwd",
    "bare": "kit:Bare",
}


@pytest.fixture
def kit(install):
    install("strange-kit", ENTRY_POINTS, {"kit": KIT, "kit_that_crashes": "raise SystemExit('over [and] out')"})


def listed(answer):
    """The plugins of the kit alone; others may be installed."""
    return {row["name"]: row for row in json.loads(answer.out) if row["distribution"] == "strange-kit"}


def test_the_plain_list_imports_nothing_and_shows_kinds(gankit, kit):
    answer = gankit("list-plugins")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    of_tricks = lines[lines.index("trick:") + 1 :]
    words = [line.split()[:3] for line in of_tricks]
    assert all([name, "strange-kit", "1.5"] in words for name in ("fine", "gone"))
    # What can be seen without an import: there is no such module.
    assert [line.split()[0] for line in lines if line.endswith("BROKEN")] == ["gone"]


def test_json_has_every_field_and_the_broken_say_why(gankit, kit):
    answer = gankit("list-plugins", "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = listed(answer)
    assert rows["fine"] == {
        "name": "fine",
        "kind": "trick",
        "hooks": ["before_d_step", "after_iteration"],
        "distribution": "strange-kit",
        "version": "1.5",
        "summary": "Does [very] little.",
    }
    assert (rows["bare"]["kind"], rows["bare"]["hooks"], rows["bare"]["summary"]) == ("latent", [], "")
    whys = {
        "gone": "ModuleNotFoundError: No module named 'no_such_module'",
        "crash": "SystemExit: over [and] out",
        "misspelt": "marks 'before_d_stp' as a hook, and there is no such hook; did you mean 'before_d_step'?",
        "wrong_argument": "stage",
        "nameless": "has no name",
        "misplaced": "is a plugin for trick, not for loss",
        "no_class": "kit:Path.cwd is no class",
    }
    for name, why in whys.items():
        assert why in rows[name]["error"], name
        assert "\n" not in rows[name]["error"]
    assert set(rows) == {"fine", "bare", *whys}


def test_long_shows_the_same_for_people(gankit, kit):
    answer = gankit("list-plugins", "--long")
    assert (answer.code, answer.err) == (0, "")
    assert "      Does [very] little.\n      hooks: before_d_step, after_iteration\n" in answer.out
    broken = [line.split()[0] for line in answer.out.splitlines() if line.endswith("strange-kit 1.5  BROKEN")]
    assert set(broken) == {"gone", "crash", "misspelt", "wrong_argument", "nameless", "misplaced", "no_class"}
    assert "did you mean 'before_d_step'?" in answer.out


def test_fifty_more_are_listed_without_an_import_and_in_no_time(gankit_process, install):
    """Half a second on a quiet machine; what imports torch would take longer than the bound here."""
    for number in range(50):
        site = install(f"many-{number}", {f"trick.many_{number}": f"many_{number}:Trick"}, {f"many_{number}": "1 / 0"})
    environment = {"PYTHONPATH": str(site)}
    gankit_process("list-plugins", environment=environment)
    began = time.perf_counter()
    answer = gankit_process("list-plugins", environment=environment)
    assert time.perf_counter() - began < 2
    assert sum("many-" in line for line in answer.out.splitlines()) == 50


def test_those_of_one_hook_alone(gankit, kit):
    names = list(listed(gankit("list-plugins", "--json", "--hook", "before_d_step")))
    assert names == ["fine"]
    answer = gankit("list-plugins", "--hook", "before_d_stp")
    assert answer.code == 2
    assert "--hook before_d_stp: there is no such hook point; did you mean 'before_d_step'?" in answer.err


def test_one_kind_alone(gankit, kit):
    rows = json.loads(gankit("list-plugins", "--json", "--kind", "latent").out)
    assert {row["kind"] for row in rows} == {"latent"}
    assert "bare" in {row["name"] for row in rows}
    refused = gankit("list-plugins", "--kind", "triks")
    assert refused.code == 2
    assert "did you mean 'trick'?" in refused.err


def test_describe_says_all_there_is_to_say(gankit, kit):
    answer = gankit("describe", "fine")
    assert gankit("describe", "trick.fine").out == gankit("describe", "fine@strange-kit").out == answer.out
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("fine: trick\n\nDoes [very] little.\n\nSource: nobody, 2026.\n")
    words = " ".join(answer.out.split())
    for said in (
        "from strange-kit 1.5",
        "class kit:Fine",
        "hooks before_d_step, after_iteration",
        "sigma float >= 0, < 1, default 0.1: how little",
        "steps int > 0, a multiple of 2, required: how often",
        'shape "round" or "square", default "round"',
        "over int, may be left out",
        "betas [float >= 0, float], default [0.5, 0.9]",
        "layers list of int at least 1 long, default [1, 2]",
        "folder path, may be left out: where",
        "knob.turn int, default 3",
    ):
        assert said in words, said


def test_describe_finds_files_and_modules_too(gankit, toy, kit):
    blobs = gankit("describe", "./toy.py:Blobs")
    assert blobs.out.startswith("blobs: data\n\nNoise in two classes.\n")
    assert "no settings" in blobs.out
    network = gankit("describe", "./toy.py:G")
    assert network.out.startswith("G: a network for the slot generator or discriminator")
    assert "width  anything, default 5" in network.out
    assert gankit("describe", "kit:Fine").out.startswith("fine: trick")


def test_a_name_of_several_kinds_shows_all(gankit, install):
    source = (
        "from gankit import Plugin\n"
        "class A(Plugin):\n    'The loss.'\n    name, kind = 'twin', 'loss'\n"
        "class B(Plugin):\n    'The trick.'\n    name = 'twin'\n"
    )
    install("twins", {"loss.twin": "twins:A", "trick.twin": "twins:B"}, {"twins": source})
    both = gankit("describe", "twin").out
    assert "The loss." in both
    assert "The trick." in both
    assert "The loss." not in gankit("describe", "trick.twin").out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("fien", "did you mean 'fine'?"),
        ("trick.fien", "did you mean 'trick.fine'?"),
        ("misspelt", "did you mean 'before_d_step'?"),
        ("gone", "No module named 'no_such_module'"),
        ("./nowhere.py:A", "there is no file"),
        ("kit:Fien", "did you mean 'Fine'?"),
        ("kit:Path", "is not a subclass of gankit.Plugin"),
        ("", "no plugin '' is installed"),
    ],
)
def test_describe_what_is_not_there(gankit, kit, given, said):
    answer = gankit("describe", given)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.startswith("error: ")
