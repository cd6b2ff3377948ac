"""What every plugin must hold. A check that fails says which promise is broken, and how."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gankit.checkpoint import capture, restore
from gankit.game import Game
from gankit.hooks import check_hooks, hooks_of
from gankit.plugin import PLAYERS, Player, Plugin
from gankit.recipe import Raw, merge
from gankit.step import Step
from gankit.testing.games import Parts, learnt_by, play, state_of, tiny_game, tiny_recipe

PRECISIONS = ("fp32", "bf16")


def devices() -> list[str]:
    """The devices to test on: `cpu`, and `cuda` where there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def check_plugin(
    plugin_class: type[Plugin],
    settings: Mapping[str, Any] | None = None,
    changes: Raw | None = None,
    *,
    classes: Iterable[int] = (0, 2),
    affects: bool = True,
) -> None:
    """All the checks below, without and with classes, in fp32 and bf16, on every device that is there.

    Args:
        plugin_class: the plugin.
        settings: for the recipe, where the defaults do not suit a tiny game.
        changes: tables to lay over the rest of the recipe.
        classes: the numbers of classes to try; `(0,)` for a plugin that refuses labels.
        affects: whether it is to change what the networks learn; a plugin that only watches does not.
    """
    check_documentation(plugin_class)
    parts = {plugin_class: dict(settings or {})}
    # A dataset has the classes that it has.
    tables: list[Raw] = [{}] if plugin_class.kind == "data" else [{"data": {"classes": count}} for count in classes]
    for table in tables:
        of_classes = merge(table, changes or {})
        check_effect(parts, of_classes, affects=affects)
        for device in devices():
            for precision in PRECISIONS:
                train = {"train": {"device": device, "precision": precision, "deterministic": True}}
                check_play(parts, merge(of_classes, train))
                check_resume(parts, merge(of_classes, train))


def check_documentation(plugin_class: type[Plugin]) -> None:
    """The class has a name, hooks that fit, what it does and its source in a docstring, and every setting described."""
    who = plugin_class.__name__
    check_hooks(plugin_class, who)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", plugin_class.name), f"{who}.name is {plugin_class.name!r}, no snake_case"
    assert hooks_of(plugin_class), f"{who} implements no hook point, so it does nothing"
    text = inspect.cleandoc(plugin_class.__doc__ or "")
    assert text, f"{who} has no docstring, which `gankit describe` shows"
    first = text.splitlines()[0]
    assert first.endswith((".", "?")), f"{who}: the docstring's first line is to be a sentence of its own: {first!r}"
    assert "Source:" in text, f"{who}: the docstring does not say `Source:` (author, year, equation)"
    for name, field in plugin_class.Config.model_fields.items():
        assert field.description, f"{who}.Config.{name} has no description: Field(..., description='...')"


def check_play(parts: Parts, changes: Raw | None = None) -> Game:
    """Four iterations leave finite losses and weights; gradients reach both players, and both have learnt.

    Gives back the game that was played.
    """
    game = tiny_game(parts, changes)
    before = learnt_by(game)
    reached = watch_gradients(game)
    play(game, 4)
    for player, weights_before, weights in zip(PLAYERS, before, learnt_by(game), strict=True):
        assert reached[player], f"no gradient reaches the {player}"
        assert weights != weights_before, f"the {player} has learnt nothing in 4 iterations"
        for name, weight in game.networks[player].named_parameters():
            assert torch.isfinite(weight).all(), f"the {player}'s {name} is no longer finite"
    return game


def watch_gradients(game: Game) -> dict[Player, bool]:
    """Which players' parameters have had a gradient other than 0; filled in while the game is played."""
    reached = dict.fromkeys(PLAYERS, False)
    after_backward = game.after_backward

    def watch(run: Game, step: Step, player: Player) -> None:
        after_backward(run, step, player)
        gradients = [p.grad for p in run.parameters[player] if p.grad is not None]
        reached[player] = reached[player] or any(bool(gradient.any()) for gradient in gradients)

    game.after_backward = watch
    return reached


def check_resume(parts: Parts, changes: Raw | None = None) -> None:
    """A game restored from what was saved after its first iteration ends with the same bytes as it would have."""
    game = play(tiny_game(parts, changes))
    at_first = state_of(game)
    saved = saved_by(game)
    at_last = state_of(play(game, 2))
    again = Game(tiny_recipe(parts, changes))
    again.load_data()
    restore(again, *saved)
    again.start()
    assert_same_state(state_of(again), at_first, "what is restored is not what was saved")
    assert_same_state(state_of(play(again, 2)), at_last, "a restored game goes another way than the one that went on")


def saved_by(game: Game) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """What a checkpoint would hold: tensors by file, and plain values as they come back from JSON."""
    tensors, plain = capture(game)
    copies = {file: {name: tensor.clone() for name, tensor in of.items()} for file, of in tensors.items()}
    return copies, json.loads(json.dumps(plain))


def assert_same_state(ours: dict[str, bytes], theirs: dict[str, bytes], message: str) -> None:
    """Names the files of a checkpoint that differ, if any do."""
    differing = [name for name in theirs if ours.get(name) != theirs[name]]
    hint = "state_dict must give all that the plugin needs, and load_state_dict take it back"
    assert not differing, f"{message}: {', '.join(differing)}; {hint}"


def check_effect(parts: Parts, changes: Raw | None = None, *, affects: bool = True) -> None:
    """With these plugins the networks learn something else than without them, or, `affects=False`, the very same."""
    with_them, without = (learnt_by(play(tiny_game(of, changes), 4)) for of in (parts, {}))
    changed = with_them != without
    names = ", ".join(plugin_class.name for plugin_class in parts)
    if affects:
        assert changed, f"{names}: nothing that is learnt changes; is the hook the right one, and do the settings act?"
    else:
        assert not changed, f"{names}: what is learnt changes, though it is only to watch"


def check_order(parts: Parts, changes: Raw | None = None, *, matters: bool = True) -> None:
    """Whether plugins do the same in the order given and in the reverse order."""
    backwards = dict(reversed(list(parts.items())))
    one, other = (learnt_by(play(tiny_game(order, changes), 4)) for order in (parts, backwards))
    differ = one != other
    assert differ is matters, "the two orders give different results" if differ else "both orders give the same"
