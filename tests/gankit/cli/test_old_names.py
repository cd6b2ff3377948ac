"""Names from before 0.2: every use of one is refused with a message that gives the new name."""

from pathlib import Path

import pytest

from gankit import Step


def write_plugin(body):
    """Write old.py with a plugin."""
    source = f"from gankit import Plugin, hookimpl\nclass Old(Plugin):\n    name = 'old'\n    {body}\n"
    Path("old.py").write_text(source)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("measures.frechet_distance={}", "measures: unknown key; it is called 'metrics' now"),
        ("train.discriminator_turns=2", "discriminator_turns: unknown key; it is called 'discriminator_steps' now"),
        ("tricks.adviser={}", "no trick called 'adviser' is installed; it is called 'training_monitor' now"),
        ("tricks.balanced_turns={}", "it is called 'balanced_steps' now"),
        ("tricks.ada.thousands=5", "tricks.ada.thousands: unknown key; it is called 'kimg' now"),
    ],
)
def test_recipes(gankit, toy, change, expected):
    answer = gankit("validate", "toy.toml", change)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert expected in answer.err


@pytest.mark.parametrize(
    ("key", "body", "expected"),
    [
        ("tricks", "only_watches = True", "the class attribute only_watches is called read_only now"),
        ("metrics", "kind = 'measure'", "is of kind 'measure'; it is called 'metric' now"),
        ("tricks", "@hookimpl\n    def turns(self): ...", "marks 'turns' as a hook"),
        ("tricks", "@hookimpl\n    def turns(self): ...", "it is called 'step_order' now"),
        ("tricks", "@hookimpl\n    def measure(self): ...", "it is called 'compute_metrics' now"),
        ("tricks", "from gankit import Game", "ImportError: gankit.Game is called gankit.Run now"),
    ],
)
def test_plugins(gankit, toy, key, body, expected):
    write_plugin(body)
    answer = gankit("validate", "toy.toml", f"{key}.x.use=./old.py:Old")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert expected in answer.err


def test_a_method_may_have_the_old_name_of_an_attribute(gankit, toy):
    write_plugin("def spherical(self): ...")
    assert gankit("validate", "toy.toml", "tricks.x.use=./old.py:Old").code == 0


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("step.shown_real", "error: a step has no 'shown_real'; it is called 'real_inputs' now\n"),
        ("step.game", "error: a step has no 'game'; it is called 'run' now\n"),
        ("step.answers = 3", "error: a step has no 'answers'; it is called 'num_inputs' now; state of a plugin"),
    ],
)
def test_fields_of_a_step(gankit, toy, statement, expected):
    write_plugin(f"@hookimpl\n    def before_d_step(self, step): {statement}")
    answer = gankit("run", "toy.toml", "--out", "run", "tricks.x.use=./old.py:Old")
    assert answer.code == 2
    assert answer.err.startswith(expected)


def test_a_step_does_not_have_its_old_fields():
    step = Step(run=None, player="generator", real=None, condition=None, z=None, fake=None)
    assert not hasattr(step, "judge")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["eval", "run", "--measure", "fid"], "No such option '--measure'; it is called '--metric' now;"),
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
