"""Dataset of the lines of a text file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gankit import Dataset, InputError, RecipePath, Settings, hookimpl, read_prepared
from gankit_plugins.data.text_data import TextData, text_dataset
from gankit_plugins.layers.characters import alphabet_in, alphabet_of

MAX_NUMBERS = 1 << 30
"""Maximum number of values in the one-hot sequences of all lines. They take 4 bytes each."""


class Lines(TextData):
    """Your own texts: a text file in UTF-8 with one text in each line.

    A text becomes a sequence of one-hot vectors of characters. The alphabet is found from the file. If the file has
    more than `max_characters` different characters, the least frequent ones are replaced. Longer lines than `length`
    are cut, and shorter lines are padded. Empty lines are left out. The alphabet is kept in the generator file and in
    the file of `gankit prepare`, which `path` may also name.

    Source: Gulrajani 2017, "Modeling discrete data with a continuous generator", with 32 characters for each text.

    When to use: for short texts such as names, dates, codes and headlines, with the networks `character_resnet`.
    When not: for long texts, or words and sentences with a meaning; language models are better at those.
    """

    name = "lines"

    class Config(Settings):
        path: RecipePath = Field(description="text file in UTF-8, or file of `gankit prepare`")
        length: int = Field(32, ge=1, le=10_000, description="number of characters of a text; longer lines are cut")
        max_characters: int = Field(100, ge=2, le=10_000, description="largest number of different characters")
        max_lines: int = Field(100_000, ge=1, description="number of lines that are used, from the start of the file")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c, path = self.config, Path(self.config.path)
        if path.suffix == ".safetensors":
            dataset = read_prepared(path)
            if alphabet_in(dataset.encoding) is None:
                raise InputError(f"data.path {path}: has no texts; name a text file, or a file prepared from one")
            return dataset
        lines, more = read_lines(path, c.max_lines)
        alphabet = alphabet_of(lines, c.max_characters)
        total = len(lines) * (len(alphabet) + 1) * c.length
        if total > MAX_NUMBERS:
            raise InputError(
                f"data.path {path}: {len(lines)} lines of {c.length} places with {len(alphabet) + 1} values each need "
                f"{4 * total / 2**30:.0f} GB of memory; reduce data.max_lines, data.length or data.max_characters"
            )
        facts = [f"{len(lines):,} lines, {len(alphabet)} characters"]
        if cut := sum(len(line) > c.length for line in lines):
            facts.append(f"{cut:,} lines cut")
        if replaced := sum(character not in alphabet for line in lines for character in line):
            facts.append(f"{replaced:,} rare characters replaced")
        if more:
            facts.append(f"{more:,} further lines not used (data.max_lines)")
        return text_dataset(lines, alphabet, c.length, "; ".join(facts))


def read_lines(path: Path, most: int) -> tuple[list[str], int]:
    """Read a text file. Return its first `most` lines that are not empty, and the number of further lines.

    Spaces at the end of a line are left out.

    Raises:
        InputError: the file does not exist, is not a text in UTF-8, or has no lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"data.path {path}: is not a text in UTF-8 (byte {error.start}); convert it to UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"data.path {path}: cannot be read ({error.strerror}); name a text file") from None
    # `str.splitlines` would also split at characters such as form feeds.
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f"data.path {path}: has no text; name a file with one text in each line")
    return lines[:most], max(0, len(lines) - most)
