"""`list-plugins` and `describe`."""

import json

import pytest

KIT = '''
from pathlib import Path
from typing import Annotated, Literal
from pydantic import Field
from gankit import Plugin, Settings, hookimpl

class Knob(Settings):
    angle: int = 3

class Fine(Plugin):
    """Does [very] little.

    Source: Doe, 2026.
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
    """Never called by an executor."""

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

class Newer(Plugin):
    name = "newer"
    api_version = 99

class Worded(Plugin):
    name = "worded"
    api_version = "2"

class Static(Plugin):
    name = "static"

    @staticmethod
    @hookimpl
    def before_d_step(stage):
        pass

KIND, VERSION = "loss", 1

class Indirect(Plugin):
    """Attributes that only an import would show are accepted."""

    name = "indirect"
    kind, api_version = KIND, VERSION

class Bare(Plugin):
    name, kind = "bare", "latent"
'''

HEIR = '''
import kit as base
from . import marks
try:
    from ..beyond_the_package import Missing
except ImportError:
    pass

class Inherits(base.Fine):
    """More of it."""

    name = "inherits"

    @marks.hookimpl
    def before_g_step(self, step):
        pass
'''

ENTRY_POINTS = {
    "trick.fine": "kit:Fine",
    "trick.gone": "no_such_module:Gone",
    "trick.crash": "kit_that_crashes:Crash",
    "trick.misspelt": "kit:Misspelt",
    "trick.wrong_argument": "kit:WrongArgument",
    "trick.nameless": "kit:Nameless",
    "loss.misplaced": "kit:Fine",
    "trick.newer": "kit:Newer",
    "trick.worded": "kit:Worded",
    "trick.static": "kit:Static",
    "trick.absent": "kit:Absent",
    "trick.part_of_a_word": "kit:Fin",
    "loss.indirect": "kit:Indirect",
    "trick.garbled": "garbled:Garbled",
    "trick.inherits": "heirs:Inherits",
    "trick.no_class": "kit:Path.cwd",
    "bare": "kit:Bare",
}


@pytest.fixture
def kit(install):
    modules = {
        "kit": KIT,
        "kit_that_crashes": "class Crash: ...\nraise SystemExit('over [and] out')",
        "garbled": "class Garbled(:",
        # The entry point names a package, and the class is in a module of that package.
        "heirs/__init__": "from .inner import Inherits",
        "heirs/inner": HEIR,
        "heirs/marks": "from gankit import hookimpl",
    }
    install("strange-kit", ENTRY_POINTS, modules)


@pytest.fixture
def rows_of_the_kit(gankit, kit):
    """Function that lists the plugins of the kit by name. Others may be installed."""

    def rows(*options):
        answer = gankit("list-plugins", "--json", *options)
        assert (answer.code, answer.err) == (0, "")
        return {row["name"]: row for row in json.loads(answer.out) if row["distribution"] == "strange-kit"}

    return rows


SEEN_BY_READING = {
    "gone": "there is no module no_such_module",
    "misspelt": "there is no such hook point; did you mean 'before_d_step'?",
    "wrong_argument": "before_d_step has no argument 'stage'; it can take run, step",
    "misplaced": "is a plugin for trick, not for loss",
    "newer": "needs version 99 of the hook points, and gankit",
    "worded": "api_version is '2'; it must be a whole number",
    "garbled": "is not valid Python: ",
    "absent": "kit has no class 'Absent'",
    "part_of_a_word": "kit has no class 'Fin'",
    "static": "has no argument 'stage'",
}

SEEN_BY_IMPORTING = {
    **SEEN_BY_READING,
    "gone": "ModuleNotFoundError: No module named 'no_such_module'",
    "crash": "SystemExit: over [and] out",
    "garbled": "SyntaxError",
    "absent": "module 'kit' has no attribute 'Absent'",
    "part_of_a_word": "module 'kit' has no attribute 'Fin'",
    "nameless": "has no name",
    "no_class": "kit:Path.cwd is not a class",
}

HEALTHY = {name.rpartition(".")[2] for name in ENTRY_POINTS} - set(SEEN_BY_IMPORTING)


def test_the_list_shows_kinds_summaries_and_broken_plugins(gankit, kit):
    answer = gankit("list-plugins")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    of_tricks = [line.split(maxsplit=3) for line in lines[lines.index("trick:") + 1 :]]
    assert ["fine", "strange-kit", "1.5", "Does [very] little."] in of_tricks
    broken = {line.split()[0] for line in lines if " strange-kit 1.5 " in line and " BROKEN: " in line}
    assert broken == set(SEEN_BY_READING)
    assert not [line for line in lines if " BROKEN: " in line and " strange-kit 1.5 " not in line]
    long = gankit("list-plugins", "--long").out
    assert "Does [very] little.\n      hooks: before_d_step, after_iteration\n" in long
    assert "      hooks: none\n" in long


def test_json_has_every_field_and_the_reason_of_an_error(rows_of_the_kit):
    rows = rows_of_the_kit()
    assert rows["fine"] == {
        "name": "fine",
        "kind": "trick",
        "hooks": ["before_d_step", "after_iteration"],
        "distribution": "strange-kit",
        "version": "1.5",
        "summary": "Does [very] little.",
    }
    assert (rows["bare"]["kind"], rows["bare"]["hooks"], rows["bare"]["summary"]) == ("latent", [], "")
    assert rows["inherits"]["hooks"] == ["before_d_step", "before_g_step", "after_iteration"]
    checked = rows_of_the_kit("--check")
    for listed, errors in ((rows, SEEN_BY_READING), (checked, SEEN_BY_IMPORTING)):
        for name, reason in errors.items():
            assert reason in listed[name]["error"], name
            assert "\n" not in listed[name]["error"]
        assert {name for name, row in listed.items() if "error" in row} == set(errors)
    assert all(checked[name] == rows[name] for name in HEALTHY)


def test_list_of_one_hook_or_kind(gankit, rows_of_the_kit):
    assert list(rows_of_the_kit("--hook", "before_d_step")) == ["fine", "inherits"]
    assert list(rows_of_the_kit("--kind", "latent")) == ["bare"]
    for option, wrong, right in (("--hook", "before_d_stp", "before_d_step"), ("--kind", "triks", "trick")):
        answer = gankit("list-plugins", option, wrong)
        assert answer.code == 2
        assert f"did you mean '{right}'?" in answer.err


def test_describe_shows_documentation_origin_hooks_and_settings(gankit, kit):
    answer = gankit("describe", "fine")
    assert gankit("describe", "trick.fine").out == gankit("describe", "fine@strange-kit").out == answer.out
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("fine: trick\n\nDoes [very] little.\n\nSource: Doe, 2026.\n")
    text = " ".join(answer.out.split())
    for expected in (
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
        "knob.angle int, default 3",
    ):
        assert expected in text, expected


def test_describe_a_class_of_a_file_or_a_module(gankit, toy, kit):
    slow = gankit("describe", "./toy.py:Slow")
    assert slow.out.startswith("slow: trick\n\nWaits in every iteration.\n")
    assert "no settings" in slow.out
    network = gankit("describe", "./toy.py:PlainG")
    assert network.out.startswith("PlainG: a network for the slot generator or discriminator")
    assert "width  anything, default 5" in network.out
    assert gankit("describe", "kit:Fine").out.startswith("fine: trick")


TWINS = """
from gankit import Plugin

class A(Plugin):
    "The loss."
    name, kind = "twin", "loss"

class B(Plugin):
    "The trick."
    name = "twin"
"""


def test_describe_shows_all_plugins_of_a_name_even_if_one_is_broken(gankit, install):
    install("twins", {"loss.twin": "twins:A", "trick.twin": "twins:B"}, {"twins": TWINS})
    install("bad", {"penalty.twin": "bad_twin:A"}, {"bad_twin": "1 / 0"})
    answer = gankit("describe", "twin")
    assert answer.code == 0
    assert "The loss." in answer.out
    assert "The trick." in answer.out
    assert "broken: plugin 'penalty.twin' of bad 1.5 cannot be imported" in answer.err
    assert "The loss." not in gankit("describe", "trick.twin").out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fien", "did you mean 'fine'?"),
        ("trick.fien", "did you mean 'trick.fine'?"),
        ("misspelt", "did you mean 'before_d_step'?"),
        ("gone", "No module named 'no_such_module'"),
        ("toy.py", "it has Adam, AsItIs"),
        ("./nowhere.py", "there is no file"),
        ("kit:Fien", "did you mean 'Fine'?"),
        ("kit:Path", "is not a subclass of gankit.Plugin"),
        ("", "no plugin '' is installed"),
        ("latent", "`gankit list-plugins --kind latent` lists"),
    ],
)
def test_describe_a_missing_plugin(gankit, toy, kit, name, expected):
    answer = gankit("describe", name)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
    assert answer.err.startswith("error: ")
