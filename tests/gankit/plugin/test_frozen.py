"""Compatibility: plugins for version 1 of the hook points run unchanged."""

import hashlib
import importlib.util
import sys
import warnings
from pathlib import Path

import pytest

import gankit
from gankit.errors import PluginError
from gankit.plugin import hookspecs
from gankit.plugin.base import Plugin, hookimpl
from gankit.plugin.hooks import Hooks, hooks_of
from gankit.testing import (
    check_command,
    check_documentation,
    check_effect,
    check_metric,
    check_plugin,
    check_resume,
    check_training,
    tiny_recipe,
)
from gankit.training.launch import start
from tests.gankit.conftest import RecordingReporter

FILE = Path(__file__).parents[2] / "frozen" / "api_1.py"

SHA256 = "38270762f85d96ffc6351a9af906c7a6148045778d0dd3f80c48f11aedc349ea"


_spec = importlib.util.spec_from_file_location("gankit_frozen_api_1", FILE)
frozen = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(frozen)


def test_the_file_has_not_changed():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256


def test_the_plugins_implement_every_hook_point_of_their_version():
    names = ("Everything", "Prior", "OwnBackward", "Pixels", "Brightness", "Command")
    implemented = {hook for name in names for hook in hooks_of(getattr(frozen, name))}
    assert gankit.API_VERSION > 1 or implemented == set(hookspecs.KIND_OF_HOOK)


@pytest.mark.parametrize("names", [["Everything"], ["Prior", "OwnBackward", "Everything"]])
def test_the_plugins_run(names, tmp_path):
    recipe = tiny_recipe({getattr(frozen, name): {} for name in names}, {"data": {"classes": 2}})
    reporter = RecordingReporter()
    start(recipe, tmp_path / "run", reporter)
    plugin = reporter.run.plugins["tricks.everything"]
    assert reporter.outcome.iterations == 4
    assert reporter.warnings == ["tricks.everything: uses tiny", "half of the iterations are done"]
    assert reporter.metrics == (4, {"constant": 42.0})
    assert "everything" in reporter.rows[0]["loss"]["discriminator"]
    assert plugin.called == set(hooks_of(frozen.Everything))
    assert [row for row in plugin.rows if "loss" in row] == reporter.rows
    assert [iteration for iteration, _ in plugin.grids] == [4]


def test_the_plugins_pass_the_checks():
    check_plugin(frozen.OwnBackward, affects=False, classes=[0])
    check_command(frozen.Command)
    assert list(check_metric({frozen.Pixels: {}, frozen.Brightness: {}})) == ["brighter"]
    parts, changes = {frozen.Everything: {}}, {"data": {"classes": 2}}
    check_documentation(frozen.Everything)
    check_effect(parts, changes)
    check_training(parts, changes)
    check_resume(parts, changes)


class OldPlugin(Plugin):
    """Plugin that takes an argument. Source: none."""

    name = "old_plugin"

    @hookimpl
    def before_d_step(self, run, step): ...


def hooks_of_old_plugin():
    return Hooks({"old": OldPlugin(OldPlugin.Config())})


@pytest.fixture
def redeclare(monkeypatch):
    """Return a function that declares `before_d_step` again, with another argument."""

    def declare(**options):
        def before_d_step(run, step, extra): ...

        monkeypatch.setattr(hookspecs, "before_d_step", hookspecs._hook("event", **options)(before_d_step))

    return declare


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deprecated": "use another"}, "the hook point before_d_step is deprecated: use another"),
        ({"deprecated_arguments": {"run": "step.run"}}, "argument 'run' of before_d_step is deprecated: step.run"),
    ],
)
def test_a_deprecated_hook_point_or_argument_warns(redeclare, options, message):
    redeclare(**options)
    with pytest.warns(FutureWarning, match=message):
        hooks_of_old_plugin()


def test_a_new_argument_does_not_break_plugins(redeclare):
    redeclare()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hooks = hooks_of_old_plugin()
    hooks.event("before_d_step")(None, None, "new")


def test_a_removed_argument_is_an_error(monkeypatch):
    def before_d_step(step): ...

    monkeypatch.setattr(hookspecs, "before_d_step", hookspecs._hook("event")(before_d_step))
    with pytest.raises(PluginError, match="OldPlugin: before_d_step has no argument 'run'; it can take step"):
        hooks_of_old_plugin()
