"""Suggestions for unknown names: the new name of a renamed setting or class, otherwise the most similar name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

RENAMED = {
    # Renamed Python classes and functions of the package gankit.
    "Game": "Run",
    "Judgement": "DiscriminatorOutput",
    "Term": "LossTerm",
    "in_colour": "to_rgb",
    "kept": "disk_cache",
    # Renamed tables and settings of recipes.
    "measures": "metrics",
    "discriminator_turns": "discriminator_steps",
    "alike": "diversity_threshold",
    "quiet": "repeat_after",
    "sure": "loss_threshold",
    "thousands": "kimg",
    "final_sigma": "sigma",
    "over": "sigma",
    # Renamed options of the command line.
    "--measure": "--metric",
    # Renamed plugins.
    "adviser": "training_monitor",
    "balanced_turns": "balanced_steps",
    # Renamed plugin kinds and hook points.
    "measure": "metric compute_metrics",
    "evaluate": "compute_metrics",
    "turns": "step_order",
    # Renamed attributes of plugin classes.
    "by_class": "per_class_networks",
    "only_watches": "read_only",
    "spherical": "spherical_prior",
    "state_is": "state_scope",
    # Renamed fields of the class `Step`.
    "answers": "num_inputs",
    "game": "run",
    "judge": "discriminate",
    "shown_fake": "fake_inputs",
    "shown_real": "real_inputs",
}
"""New name for each old name, for example of a setting, class or plugin. Several names are separated by spaces."""


def new_name(word: str, words: Iterable[str]) -> str | None:
    """Return the new name for the old name `word`, or None if `words` does not contain a new name for `word`."""
    return next((new for new in RENAMED.get(word, "").split() if new in words), None)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return a hint about the unknown name `word`, for an error message.

    If `word` is an old name, the hint is `"it is called 'x' now; "`. If `words` contains a similar name, the hint is
    `"did you mean 'x'? "`. Otherwise, the hint is an empty string.
    """
    known = list(words)
    if (new := new_name(word, known)) is not None:
        return f"it is called {new!r} now; "
    # Use a lower cutoff for short names, because `rl` and `r1` share only half of their characters.
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6 if len(word) > 3 else 0.5)
    return f"did you mean {close[0]!r}? " if close else ""
