"""Suggestions for unknown names: the new name of a renamed thing, or the most similar known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

RENAMED = {
    # Names to import from gankit.
    "Game": "Run",
    "Judgement": "DiscriminatorOutput",
    "Term": "LossTerm",
    "in_colour": "to_rgb",
    "kept": "disk_cache",
    # Tables and settings of a recipe.
    "measures": "metrics",
    "discriminator_turns": "discriminator_steps",
    "alike": "diversity_threshold",
    "quiet": "repeat_after",
    "sure": "loss_threshold",
    "thousands": "kimg",
    # Options of the command line.
    "--measure": "--metric",
    # Plugins.
    "adviser": "training_monitor",
    "balanced_turns": "balanced_steps",
    # Kinds and hook points.
    "measure": "metric compute_metrics",
    "evaluate": "compute_metrics",
    "turns": "step_order",
    # Attributes of a plugin class.
    "by_class": "per_class_networks",
    "only_watches": "read_only",
    "spherical": "spherical_prior",
    "state_is": "state_scope",
    # Fields of a step.
    "answers": "num_logits",
    "judge": "discriminate",
    "shown_fake": "fake_inputs",
    "shown_real": "real_inputs",
}
"""New names by old ones. One old name may have several new names, separated by a space."""


def new_name(word: str, words: Iterable[str]) -> str | None:
    """Return the name among the known `words` that replaced `word`, or None."""
    return next((new for new in RENAMED.get(word, "").split() if new in words), None)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return `"did you mean 'x'? "` or `"it is called 'x' now; "`, or an empty string if no known word is similar."""
    known = list(words)
    if (new := new_name(word, known)) is not None:
        return f"it is called {new!r} now; "
    # For two letters, one correct letter is enough: r1 for rl.
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6 if len(word) > 3 else 0.5)
    return f"did you mean {close[0]!r}? " if close else ""
