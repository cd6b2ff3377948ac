"""Names from before 0.2: every use of one is refused with a message that gives the new name."""

import pytest

OLD_PLUGINS = """
from gankit import Plugin, hookimpl


class OldAttribute(Plugin):
    name, only_watches = "old_attribute", True


class OldKind(Plugin):
    name, kind = "old_kind", "measure"


class OldHook(Plugin):
    name = "old_hook"

    @hookimpl
    def turns(self, run):
        return ["generator"]


class OldMetricHook(Plugin):
    name, kind = "old_metric_hook", "metric"

    @hookimpl
    def measure(self, comparison):
        return {}


class ReadsOldField(Plugin):
    name = "reads_old_field"

    @hookimpl
    def before_d_step(self, step):
        step.real = step.shown_real[0]


class SetsOldField(Plugin):
    name = "sets_old_field"

    @hookimpl
    def before_d_step(self, step):
        step.answers = 3
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("measures.frechet_distance={}", "measures: unknown key; it is called 'metrics' now"),
        (
            "train.discriminator_turns=2",
            "discriminator_turns: unknown key; it is called 'discriminator_steps' now",
        ),
        ("tricks.adviser={}", "no trick called 'adviser' is installed; it is called 'training_monitor' now"),
        ("tricks.balanced_turns={}", "it is called 'balanced_steps' now"),
        ("tricks.ada.thousands=5", "tricks.ada.thousands: unknown key; it is called 'kimg' now"),
        ("tricks.x.use=./old.py:OldAttribute", "the class attribute only_watches is called read_only now"),
        ("metrics.x.use=./old.py:OldKind", "is of kind 'measure'; it is called 'metric' now"),
        ("tricks.x.use=./old.py:OldHook", "marks 'turns' as a hook"),
        ("tricks.x.use=./old.py:OldHook", "it is called 'step_order' now"),
        ("metrics.x.use=./old.py:OldMetricHook", "it is called 'compute_metrics' now"),
        ("tricks.x.use=./old_import.py:Old", "ImportError: gankit.Game is called gankit.Run now"),
    ],
)
def test_recipes_and_plugins(gankit, toy, change, expected):
    (toy / "old.py").write_text(OLD_PLUGINS)
    (toy / "old_import.py").write_text("from gankit import Game")
    answer = gankit("validate", "toy.toml", change)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert expected in answer.err


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        ("ReadsOldField", "error: a step has no 'shown_real'; it is called 'real_inputs' now\n"),
        ("SetsOldField", "error: a step has no 'answers'; it is called 'num_logits' now; state of a plugin"),
    ],
)
def test_fields_of_a_step(gankit, toy, plugin, expected):
    (toy / "old.py").write_text(OLD_PLUGINS)
    answer = gankit("run", "toy.toml", "--out", "run", f"tricks.x.use=./old.py:{plugin}")
    assert answer.code == 2
    assert answer.err.startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["eval", "run", "--measure", "fid"], "No such option '--measure'; it is called '--metric' now."),
        (["list-plugins", "--kind", "measure"], "it is called 'metric' now"),
        (["list-plugins", "--hook", "turns"], "it is called 'step_order' now"),
        (["describe", "adviser"], "it is called 'training_monitor' now"),
        (["describe", "trick.adviser"], "did you mean 'trick.training_monitor'?"),
        (["describe", "trick.r1"], "no plugin 'trick.r1' is installed; did you mean 'penalty.r1'?"),
        (["describe", "measure.modes"], "did you mean 'metric.modes'?"),
        (["describe", "measure"], "it is called 'metric' now"),
    ],
)
def test_command_line(gankit, arguments, expected):
    answer = gankit(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
