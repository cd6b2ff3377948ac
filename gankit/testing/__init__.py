"""Tools for testing plugins: tiny training runs that take milliseconds, and checks that every plugin must pass.

    from gankit.testing import check_plugin, tiny_run
    from my_package import LouderFakes

    def test_everything():
        check_plugin(LouderFakes, {"gain": 1.5})

    def test_the_equation():
        run = tiny_run({LouderFakes: {"gain": 2.0}})
        ...  # compare a value in the run with the equation

In this example, `LouderFakes` is the plugin under test, and `gain` is one of its settings. In pytest, `tiny_run`,
`check_plugin` and `gankit_device` are also available as fixtures, without an import.
"""

from gankit.testing.checks import (
    check_command,
    check_dataset,
    check_documentation,
    check_effect,
    check_metric,
    check_order,
    check_plugin,
    check_repeat,
    check_resume,
    check_samples,
    check_training,
    devices,
)
from gankit.testing.harness import Parts, state_of, tiny_recipe, tiny_run, train_iterations, weights_of

__all__ = ["Parts", "devices", "state_of", "tiny_recipe", "tiny_run", "train_iterations", "weights_of"]
__all__ += ["check_command", "check_dataset", "check_documentation", "check_effect", "check_metric", "check_order"]
__all__ += ["check_plugin", "check_repeat", "check_resume", "check_samples", "check_training"]
