"""For authors of plugins: games that a test plays in milliseconds, and checks of all that every plugin must hold.

    from gankit.testing import check_plugin, tiny_game
    from my_package import LouderFakes

    def test_everything():
        check_plugin(LouderFakes, {"gain": 1.5})

    def test_the_equation():
        game = tiny_game({LouderFakes: {"gain": 2.0}})
        ...

Under pytest the fixtures `tiny_game`, `check_plugin` and `device` are there without an import.
"""

from gankit.testing.checks import (
    check_documentation,
    check_effect,
    check_order,
    check_play,
    check_plugin,
    check_resume,
    devices,
)
from gankit.testing.games import Parts, learnt_by, play, state_of, tiny_game, tiny_recipe

__all__ = [
    "Parts",
    "check_documentation",
    "check_effect",
    "check_order",
    "check_play",
    "check_plugin",
    "check_resume",
    "devices",
    "learnt_by",
    "play",
    "state_of",
    "tiny_game",
    "tiny_recipe",
]
