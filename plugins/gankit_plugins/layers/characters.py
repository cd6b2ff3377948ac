"""Conversion between lines of text and one-hot sequences of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Character that replaces each rare character of a text file."""

KEY = "characters"
"""Key of the alphabet in `Dataset.encoding`, and in `Spec.encoding`."""


def alphabet_of(lines: Iterable[str], limit: int) -> str:
    """Return the `limit` most frequent characters of all lines, sorted by their code points.

    If there are more characters, the least frequent ones are left out, and `REPLACEMENT` is one of the `limit`.
    """
    counts = Counter(character for line in lines for character in line)
    if len(counts) <= limit:
        return "".join(sorted(counts))
    # Sort by code point before the sort by count, so that the result does not depend on the order of the lines.
    frequent = sorted(sorted(counts), key=lambda character: -counts[character])
    kept = [character for character in frequent if character != REPLACEMENT][: limit - 1]
    return "".join(sorted((*kept, REPLACEMENT)))


def encode(lines: Sequence[str], alphabet: str, length: int) -> Tensor:
    """Convert N lines to indices of characters, (N, T) int64, with T = `length`.

    The index of the character `alphabet[i]` is i + 1. The index 0 marks the end: each line is padded with zeros. Longer
    lines are cut. Characters that are not in the alphabet become `REPLACEMENT`, which must then be in the alphabet.
    """
    index = {character: number for number, character in enumerate(alphabet, 1)}
    other = index.get(REPLACEMENT, 0)
    rows = torch.zeros(len(lines), length, dtype=torch.int64)
    for row, line in zip(rows, lines, strict=True):
        cut = [index.get(character, other) for character in line[:length]]
        row[: len(cut)] = torch.tensor(cut, dtype=torch.int64)
    return rows


def to_one_hot(indices: Tensor, size: int) -> Tensor:
    """Convert indices (N, T) to one-hot sequences (N, V, T) float32, with V = `size`. The values are 0 and 1."""
    # `one_hot` would need three times the memory, because its result is int64.
    return torch.zeros(len(indices), size, indices.shape[1]).scatter_(1, indices[:, None], 1.0)


def decode(sequences: Tensor, alphabet: str) -> list[str]:
    """Convert sequences (N, V, T) to N lines: the most probable character at each place, up to the first end.

    The sequences are one-hot vectors or probabilities of the V - 1 characters of `alphabet` and the end (index 0).
    """
    lines = []
    for row in sequences.argmax(1).tolist():
        end = row.index(0) if 0 in row else len(row)
        lines.append("".join(alphabet[number - 1] for number in row[:end]))
    return lines


def alphabet_in(encoding: Mapping[str, Any]) -> str | None:
    """Return the alphabet in the encoding of a dataset, or None if its samples are not texts."""
    alphabet = encoding.get(KEY)
    return alphabet if isinstance(alphabet, str) else None
