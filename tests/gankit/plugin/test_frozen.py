"""Plugins as they were written for an earlier version of the hook points run unchanged."""

import hashlib
import importlib.util
import sys
import warnings
from pathlib import Path

import click
import pytest

import gankit
from gankit.errors import PluginError
from gankit.plugin import hookspecs
from gankit.plugin.base import Plugin, hookimpl
from gankit.plugin.hooks import Hooks, hooks_of
from gankit.testing import (
    check_documentation,
    check_effect,
    check_metric,
    check_play,
    check_plugin,
    check_resume,
    tiny_recipe,
)
from gankit.training.launch import start
from tests.gankit.conftest import Told

FOLDER = Path(__file__).parents[1] / "frozen"


def _frozen(file):
    name = f"gankit_frozen_{file}"
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{file}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


frozen, frozen_2 = _frozen("api_1"), _frozen("api_2")

OF_VERSION_2 = (frozen_2.Notes, frozen_2.Pixels, frozen_2.Brightness)

SHA256 = {
    "api_1": "f8e3824c6abb9baa1d3abf466e29674d1e1d8db953840ac89c0fce452aa9077e",
    "api_2": "5f66cce085b7224c4a1a61a0670aa0e710a8dff5beff67951db823219018ef3e",
}


@pytest.mark.parametrize("file", SHA256)
def test_the_file_is_as_it_was(file):
    assert hashlib.sha256((FOLDER / f"{file}.py").read_bytes()).hexdigest() == SHA256[file]


def test_they_know_every_hook_point_of_their_versions():
    classes = (frozen.Everything, frozen.Prior, frozen.OwnBackward, frozen.Verb, *OF_VERSION_2)
    known = {hook for plugin_class in classes for hook in hooks_of(plugin_class)}
    assert gankit.API_VERSION > 2 or known == set(hookspecs.KIND_OF_HOOK)


@pytest.mark.parametrize("parts", [["Everything"], ["Prior", "Everything"], ["OwnBackward", "Everything"]])
def test_it_runs(parts, tmp_path, monkeypatch):
    instances = []
    made = frozen.Everything.__init__
    monkeypatch.setattr(
        frozen.Everything, "__init__", lambda self, config: (instances.append(self), made(self, config))[0]
    )
    recipe = tiny_recipe({getattr(frozen, name): {} for name in parts}, {"data": {"classes": 2}})
    told, advice = Told(), []
    start(recipe, tmp_path / "run", told, advice.append)
    assert told.outcome.iterations == 4
    assert told.advice == ["half of it is played"]
    assert told.metrics == (4, {"answer": 42.0})
    assert "advice: tricks.everything: uses tiny" in advice
    assert "everything" in told.rows[0]["loss"]["discriminator"]
    assert instances[-1].called == set(hooks_of(frozen.Everything))


def test_version_2_runs(tmp_path):
    told = Told()
    start(tiny_recipe({frozen_2.Notes: {}}), tmp_path / "run", told, lambda sentence: None)
    notes = told.run.plugins["tricks.frozen_notes"]
    assert notes.rows == told.rows
    assert [iteration for iteration, _ in notes.grids] == [4]
    check_plugin(frozen_2.Notes, affects=False)
    measured = check_metric({frozen_2.Pixels: {}, frozen_2.Brightness: {}})
    assert list(measured) == ["brighter"]


def test_it_holds_what_every_plugin_must():
    check_plugin(frozen.OwnBackward, affects=False)
    parts, changes = {frozen.Everything: {}}, {"data": {"classes": 2}}
    check_documentation(frozen.Everything)
    check_effect(parts, changes)
    check_play(parts, changes)
    check_resume(parts, changes)


def test_its_verb_is_there():
    verbs = click.Group()
    Hooks({"verb": frozen.Verb(frozen.Verb.Config())}).event("register_commands")(verbs)
    assert list(verbs.commands) == ["frozen_verb"]


class OldFashioned(Plugin):
    """Takes an argument. Source: none."""

    name = "old_fashioned"

    @hookimpl
    def before_d_step(self, run, step): ...


@pytest.fixture
def declared_anew(monkeypatch):
    """A function that declares `before_d_step` with more said of it."""

    def declare(**said):
        def before_d_step(run, step, mood): ...

        monkeypatch.setattr(hookspecs, "before_d_step", hookspecs._hook("event", **said)(before_d_step))

    return declare


def test_a_hook_point_that_is_to_go_warns_with_what_to_use_instead(declared_anew):
    declared_anew(deprecated="use before_turn")
    with pytest.warns(FutureWarning, match="the hook point before_d_step is deprecated: use before_turn"):
        Hooks({"old": OldFashioned(OldFashioned.Config())})


def test_an_argument_that_is_to_go_warns_whoever_takes_it(declared_anew):
    declared_anew(deprecated_arguments={"run": "step.game"})
    with pytest.warns(FutureWarning, match="the argument 'run' of before_d_step is deprecated: step.game"):
        Hooks({"old": OldFashioned(OldFashioned.Config())})


def test_an_argument_that_is_new_breaks_nobody(declared_anew):
    declared_anew()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hooks = Hooks({"old": OldFashioned(OldFashioned.Config())})
    hooks.event("before_d_step")(None, None, "new")


def test_an_argument_that_is_gone_is_a_sentence(monkeypatch):
    def before_d_step(step): ...

    monkeypatch.setattr(hookspecs, "before_d_step", hookspecs._hook("event")(before_d_step))
    with pytest.raises(PluginError, match="OldFashioned: before_d_step has no argument 'run'; it can take step"):
        Hooks({"old": OldFashioned(OldFashioned.Config())})
