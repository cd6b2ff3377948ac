"""Suggestions for unknown names: the new name of a renamed thing, or the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

RENAMED = {
    "accumulated": "accumulate",
    "alike": "diversity_threshold",
    "quiet": "repeat_after",
    "sure": "loss_threshold",
}
"""New names by old ones: recipe keys, settings, plugins, kinds, hook points, attributes of plugins."""


def nearest(word: str, words: Iterable[str]) -> str:
    """Return `"did you mean 'x'? "`, or an empty string if no known word is near.

    Args:
        word: the unknown word.
        words: the known words.
    """
    known = list(words)
    if RENAMED.get(word) in known:
        return f"it is called {RENAMED[word]!r} now; "
    # For two letters, one correct letter is enough: r1 for rl.
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6 if len(word) > 3 else 0.5)
    return f"did you mean {close[0]!r}? " if close else ""
