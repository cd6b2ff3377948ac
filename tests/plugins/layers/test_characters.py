"""Conversion between lines of text and one-hot sequences."""

import pytest
import torch

from gankit_plugins.layers.characters import REPLACEMENT, alphabet_in, alphabet_of, decode, encode, to_one_hot

LINES = ["hello", "héllo wörld", "", "日本", "a😀b"]


@pytest.mark.parametrize("length", [11, 20])
def test_lines_become_sequences_and_return(length):
    alphabet = alphabet_of(LINES, 100)
    assert alphabet == "".join(sorted(set("".join(LINES))))
    sequences = to_one_hot(encode(LINES, alphabet, length), len(alphabet) + 1)
    assert sequences.shape == (5, len(alphabet) + 1, length)
    assert sequences.dtype == torch.float32
    assert (sequences.sum(1) == 1).all()
    assert set(sequences.unique().tolist()) == {0.0, 1.0}
    assert decode(sequences, alphabet) == LINES
    for row, line in zip(sequences, LINES, strict=True):
        for place in range(length):
            index = alphabet.index(line[place]) + 1 if place < len(line) else 0
            assert row[index, place] == 1


def test_rare_characters_are_replaced_and_long_lines_are_cut():
    lines = ["aaab", "aabc", "aaxb"]
    alphabet = alphabet_of(lines, 3)
    assert alphabet == f"ab{REPLACEMENT}"
    sequences = to_one_hot(encode(lines, alphabet, 3), 4)
    assert decode(sequences, alphabet) == ["aaa", "aab", f"aa{REPLACEMENT}"]
    # Equally frequent characters are kept in the order of their code points, whatever the order of the lines.
    assert alphabet_of(["zyx"], 2) == alphabet_of(["x", "y", "z"], 2) == f"x{REPLACEMENT}"
    assert alphabet_of([REPLACEMENT, "aab"], 2) == f"a{REPLACEMENT}"


def test_the_most_probable_characters_up_to_the_first_end_are_a_line():
    probabilities = torch.tensor([[0.1, 0.2, 0.5, 0.1], [0.6, 0.3, 0.3, 0.8], [0.3, 0.5, 0.2, 0.1]])
    assert decode(probabilities[None], "ab") == ["ab"]


def test_an_encoding_without_an_alphabet():
    assert alphabet_in({"characters": "ab"}) == "ab"
    assert alphabet_in({}) is None
    assert alphabet_in({"characters": ["a"]}) is None
