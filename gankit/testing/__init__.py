"""For authors of plugins: runs that a test plays in milliseconds, and checks of all that every plugin must hold.

    from gankit.testing import check_plugin, tiny_run
    from my_package import LouderFakes

    def test_everything():
        check_plugin(LouderFakes, {"gain": 1.5})

    def test_the_equation():
        run = tiny_run({LouderFakes: {"gain": 2.0}})
        ...

Under pytest the fixtures `tiny_run`, `check_plugin` and `gankit_device` are there without an import.
"""

from gankit.testing.checks import (
    check_command,
    check_dataset,
    check_documentation,
    check_effect,
    check_metric,
    check_order,
    check_play,
    check_plugin,
    check_repeat,
    check_resume,
    check_samples,
    devices,
)
from gankit.testing.harness import Parts, state_of, tiny_recipe, tiny_run, train_iterations, weights_of

__all__ = [
    "Parts",
    "check_command",
    "check_dataset",
    "check_documentation",
    "check_effect",
    "check_metric",
    "check_order",
    "check_play",
    "check_plugin",
    "check_repeat",
    "check_resume",
    "check_samples",
    "devices",
    "state_of",
    "tiny_recipe",
    "tiny_run",
    "train_iterations",
    "weights_of",
]
