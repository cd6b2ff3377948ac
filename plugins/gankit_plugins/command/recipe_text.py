"""Text of a recipe in TOML, with a comment that gives the reason for each choice."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from gankit_plugins.command.recipe_choice import Plan

WIDTH = 110
"""Largest length of a line of comments, in characters."""

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates. Names of files may contain them, and comments in TOML must not."""


def recipe_text(plan: Plan, name: str, head: Sequence[str]) -> str:
    """Return the text of a recipe.

    Args:
        plan: settings and reasons.
        name: name of the recipe.
        head: paragraphs of the comment at the beginning.
    """
    lines = [line for paragraph in head for line in (*commented(paragraph), "#")][:-1]
    lines += [f"name = {value_text(name)}", "seed = 0"]
    for key, table in plan.settings.items():
        lines.append("")
        lines += commented(plan.reasons.get(key, ""))
        lines.append(f"[{key}]")
        for setting, value in table.items():
            lines += commented(plan.reasons.get(f"{key}.{setting}", ""))
            lines.append(f"{setting} = {value_text(value)}")
    return "\n".join(lines) + "\n"


def commented(text: str) -> list[str]:
    """Return a text as lines of a comment. Lines that begin with spaces are not wrapped."""
    wrapped = []
    for line in text.splitlines():
        wrapped += [line] if line.startswith(" ") else textwrap.wrap(line, WIDTH, break_on_hyphens=False)
    return [f"# {printable(line)}" for line in wrapped]


def printable(text: str) -> str:
    """Return a text with a question mark for each control character and each lone surrogate."""
    return UNPRINTABLE.sub("?", text)


def value_text(value: Any) -> str:
    """Return a value as TOML. JSON has the same form for texts, numbers, booleans and lists of them."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
