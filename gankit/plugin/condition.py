"""Kinds of condition. A condition is an input of a conditional GAN, such as a class, attributes or a source image."""

from __future__ import annotations

import difflib
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.formatting import plural
from gankit.suggest import nearest

NAMES_SHOWN = 10
"""Maximum number of names, such as class names, that a description or an error message lists."""

Requested = Mapping[str, str | float]
"""Condition that a user requests, as a dict such as `{"class": "cat"}`, `{"age": 30}` or `{"text": "a red circle"}`."""

Wanted = str | int | Requested | None
"""Condition that a user requests: a class name, a class index, or a dict of type `Requested`.

None if the user requests no condition. The samples then get conditions similar to those of the dataset.
"""

FARTHEST = 10.0
"""Maximum absolute value of a scaled number in a `VectorCondition`.

Scaled numbers lie in [-1, 1] or close to this range. A number above this limit is probably unscaled.
"""

MAX_LENGTH = 100_000
"""Maximum number of classes, numbers or words in a condition.

The limit bounds the memory that is used if a file contains a damaged description of a condition.
"""


class Condition(ABC):
    """Description of the condition of samples. The condition itself is a tensor with one row for each sample.

    Each subclass describes one kind of condition. The constructor raises InputError for an invalid description.
    `Dataset.condition` and `Spec.condition` contain an instance of a subclass, or None.
    """

    kind: ClassVar[str]
    dtype: ClassVar[torch.dtype]
    """Data type of the condition tensor that a network takes as input."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the condition of one sample, without the batch dimension."""

    @abstractmethod
    def describe(self, names: bool = True) -> str:
        """Return a short description for the user: `2 classes: cat, dog`, or only `2 classes` if `names` is False."""

    @abstractmethod
    def mistake(self, rows: Tensor) -> tuple[str, str] | None:
        """Check that the rows (N, ...) of a condition tensor match this description. N must be at least 1.

        Return None if the rows match. Otherwise, return two texts for an error message. The first text states what is
        wrong with the rows, and follows the words `the condition` in the message. The second text describes valid rows,
        and follows the words `the data plugin describes it as`.
        """

    @abstractmethod
    def blank(self, count: int) -> Tensor:
        """Return a condition tensor (count, ...) with arbitrary valid values, for a test call of a network."""

    @abstractmethod
    def rows(self, count: int, requested: Requested, examples: Tensor | None) -> Tensor:
        """Return a condition tensor (count, ...) with the condition that a user requests.

        Args:
            count: number of samples.
            requested: condition that the user requests. If empty, the result is similar to the dataset's conditions.
            examples: conditions of samples of the dataset, (n, ...), in the form that networks take as input. None if
                there are no examples.

        Raises:
            InputError: a requested name or value does not exist, or examples are needed but not given.
        """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels. Empty if the condition is not a class."""
        return ()

    def name_of(self, row: Tensor) -> str:
        """Return a short text about the condition of one sample, for use in a file name. The text may be empty."""
        return ""

    def to_card(self) -> dict[str, Any]:
        """Return this description of the condition as a JSON object. The function `from_card` is the inverse."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class ClassCondition(Condition):
    """Condition that is a class. The condition tensor contains class indices (labels), (N,) int64."""

    names: tuple[str, ...]
    """Names of the classes, in the order of the labels."""

    kind = "class"
    dtype = torch.int64
    shape = ()

    def __post_init__(self) -> None:
        _check_names("ClassCondition", self.names)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.names

    @classmethod
    def of(cls, names: tuple[str, ...]) -> ClassCondition | None:
        """Return a condition with these class names, or None if `names` is empty."""
        return cls(names) if names else None

    def describe(self, names: bool = True) -> str:
        return plural(len(self.names), "class", "classes") + (_some(self.names) if names else "")

    def mistake(self, rows: Tensor) -> tuple[str, str] | None:
        if wrong := _wrong_form(rows, (), torch.int64):
            return wrong
        lowest, highest = int(rows.min()), int(rows.max())
        if lowest >= 0 and highest < len(self.names):
            return None
        return f"has labels from {lowest} to {highest}", f"labels from 0 to {len(self.names) - 1}"

    def blank(self, count: int) -> Tensor:
        return evenly_spaced(len(self.names), count)

    def rows(self, count: int, requested: Requested, examples: Tensor | None) -> Tensor:
        if not requested:
            return torch.arange(count) % len(self.names)
        if other := next((name for name in requested if name != "class"), None):
            raise InputError(f"{other}: the generator takes classes; use --class with one of {_some(self.names)[2:]}")
        return torch.full((count,), self.index(str(requested["class"])))

    def index(self, requested: str) -> int:
        """Return the index of a class, given as its name or as its index in digits, such as `"3"`.

        Raises:
            InputError: there is no such class.
        """
        if requested in self.names:
            return self.names.index(requested)
        if requested.isdecimal() and int(requested) < len(self.names):
            return int(requested)
        raise InputError(f"class {requested!r}: there are {', '.join(self.names)}")

    def name_of(self, row: Tensor) -> str:
        return self.names[int(row)]


@dataclass(frozen=True)
class VectorCondition(Condition):
    """Condition that consists of K numbers, such as attributes and ages. The condition tensor is (N, K) float32.

    An attribute whose values are words, such as a colour, is one-hot encoded. It has one number for each word, with a
    name such as `colour=red`. Before scaling, the number is 1 for the word that applies, and 0 for all other words.
    """

    names: tuple[str, ...]
    """Names of the K numbers of the condition vector, such as `age` or `colour=red`."""

    ranges: tuple[tuple[float, float], ...] = ()
    """Range (low, high) of each number in the user's units. In the condition tensor, this range is scaled to [-1, 1].

    Empty if the condition tensor contains unscaled numbers. Scaling is useful, because networks learn best from numbers
    of similar size.
    """

    kind = "vector"
    dtype = torch.float32

    def __post_init__(self) -> None:
        _check_names("VectorCondition", self.names)
        if not isinstance(self.ranges, tuple) or len(self.ranges) not in (0, len(self.names)):
            raise InputError(f"VectorCondition: {len(self.names)} names, and ranges = {self.ranges!r}")
        for one in self.ranges:
            numbers = isinstance(one, tuple) and len(one) == 2 and all(isinstance(x, int | float) for x in one)
            if not numbers or not -math.inf < one[0] < one[1] < math.inf:
                raise InputError(f"VectorCondition: the range {one!r} needs a low and a higher number")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.names),)

    def describe(self, names: bool = True) -> str:
        ranges = self.ranges or [None] * len(self.names)
        shown = [
            name if "=" in name or one is None else f"{name} ({one[0]:g} to {one[1]:g})"
            for name, one in zip(self.names, ranges, strict=True)
        ]
        return plural(len(self.names), "number") + (_some(tuple(shown)) if names else "")

    def mistake(self, rows: Tensor) -> tuple[str, str] | None:
        if wrong := _wrong_form(rows, self.shape, torch.float32):
            return wrong
        if not bool(rows.isfinite().all()):
            return "has numbers that are NaN or infinite", "finite numbers"
        low, high = rows.min().item(), rows.max().item()
        if self.ranges and max(-low, high) > FARTHEST:
            return (
                f"has numbers from {low:g} to {high:g}",
                "numbers near -1 to 1; `VectorCondition.scaled` returns them",
            )
        return None

    def blank(self, count: int) -> Tensor:
        return torch.zeros(count, len(self.names))

    def rows(self, count: int, requested: Requested, examples: Tensor | None) -> Tensor:
        words = dict.fromkeys(name.partition("=")[0] for name in self.names if "=" in name)
        numbers = [name for name in self.names if "=" not in name]
        _only_names(requested, [*numbers, *words])
        rows = self.blank(count) if examples is None else _cycled(examples, count).clone()
        for name, value in requested.items():
            if name in words:
                self._set_word(rows, name, str(value))
            else:
                rows[:, self.names.index(name)] = self._scaled(name, value)
        if examples is None and (missing := [name for name in (*numbers, *words) if name not in requested]):
            raise InputError(f"the generator needs {', '.join(missing)}; set each, for example {missing[0]}=1")
        return rows

    def scaled(self, values: Tensor) -> Tensor:
        """Convert numbers (N, K) in the user's units to a float32 tensor (N, K). Scale them if `ranges` is set."""
        if not self.ranges:
            return values.float()
        low, high = torch.tensor(self.ranges, dtype=torch.float64).T
        return ((2 * values.double() - low - high) / (high - low)).float()

    def _scaled(self, name: str, value: str | float) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise InputError(f"{name}: {value!r} is not a number")
        column = self.names.index(name)
        row = torch.zeros(1, len(self.names), dtype=torch.float64)
        row[0, column] = number
        scaled = self.scaled(row)[0, column].item()
        if not math.isfinite(scaled):
            raise InputError(f"{name}: {value!r} is too large")
        return scaled

    def _set_word(self, rows: Tensor, name: str, word: str) -> None:
        words = [column.partition("=")[2] for column in self.names if column.startswith(f"{name}=")]
        if word not in words:
            raise InputError(f"{name}: {word!r} is unknown; {nearest(word, words)}there are {', '.join(words)}")
        for one in words:
            column = f"{name}={one}"
            rows[:, self.names.index(column)] = self._scaled(column, float(one == word))


@dataclass(frozen=True)
class TokenCondition(Condition):
    """Condition that is a text of up to T words. Each word is one token.

    The method `from_texts` collects the words of a dataset, and `encode` converts its texts to tokens.

    The condition tensor contains token indices (N, T) int64, padded with zeros.
    """

    words: tuple[str, ...]
    """All words that a text may contain. Their token indices are 1, 2, ..., in this order. The index 0 is padding."""

    length: int
    """Maximum number of words in a text, T."""

    kind = "tokens"
    dtype = torch.int64

    def __post_init__(self) -> None:
        _check_names("TokenCondition", self.words)
        if wrong := next((word for word in self.words if word.split() != [word]), None):
            raise InputError(f"TokenCondition: the word {wrong!r} has a space; a text is split at its spaces")
        if type(self.length) is not int or not 1 <= self.length <= MAX_LENGTH:
            raise InputError(f"TokenCondition: length = {self.length!r}; give the largest number of words, from 1")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def describe(self, names: bool = True) -> str:
        return f"texts of up to {plural(self.length, 'word')}, {plural(len(self.words), 'known word')}"

    def mistake(self, rows: Tensor) -> tuple[str, str] | None:
        if wrong := _wrong_form(rows, self.shape, torch.int64):
            return wrong
        lowest, highest = int(rows.min()), int(rows.max())
        if lowest >= 0 and highest <= len(self.words):
            return None
        return f"has words from {lowest} to {highest}", f"numbers from 0 to {len(self.words)}"

    def blank(self, count: int) -> Tensor:
        return torch.ones(count, self.length, dtype=torch.int64)

    def rows(self, count: int, requested: Requested, examples: Tensor | None) -> Tensor:
        if requested:
            _only_names(requested, ("text",))
            return self.tokens(str(requested["text"])).expand(count, -1).clone()
        if examples is None:
            raise InputError("the generator needs a text, and none is given; add --text")
        return _cycled(examples, count)

    @classmethod
    def from_texts(cls, texts: Iterable[str], length: int, min_count: int = 1) -> TokenCondition:
        """Return a condition whose words are those of `texts`, the most frequent word first.

        Words are in lower case and have no punctuation.

        Args:
            texts: texts of a dataset.
            length: maximum number of words in a text. The method `encode` cuts longer texts.
            min_count: minimum number of occurrences. Rarer words are left out.

        Raises:
            InputError: no word is frequent enough.
        """
        counts = Counter(word for text in texts for word in words_of(text))
        words = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
        if not words:
            raise InputError(f"the texts have no word that occurs {min_count} times; accept rarer words")
        return cls(tuple(words), length)

    @cached_property
    def _index(self) -> dict[str, int]:
        """Token index of each word."""
        return {word: number for number, word in enumerate(self.words, 1)}

    def encode(self, text: str) -> Tensor:
        """Return the token indices (T,) of a text of the dataset, padded with zeros.

        Unknown words are left out, and a text with more than T words is cut.
        """
        return self._padded([self._index[word] for word in words_of(text) if word in self._index][: self.length])

    def tokens(self, text: str) -> Tensor:
        """Return the token indices (T,) of a text that a user requests, padded with zeros.

        The text is split at spaces. If a word is unknown, it is changed to lower case, and its punctuation is removed.

        Raises:
            InputError: the text has no words, more than T words, or unknown words.
        """
        words = [word for part in text.split() for word in ([part] if part in self._index else words_of(part))]
        if not words:
            raise InputError(f"text: {text!r} has no words; name at least one of {_some(self.words)[2:]}")
        if len(words) > self.length:
            raise InputError(f"text: {text!r} has {len(words)} words; at most {self.length} are possible")
        if unknown := [word for word in dict.fromkeys(words) if word not in self._index]:
            raise InputError(self._unknown(unknown))
        return self._padded([self._index[word] for word in words])

    def _padded(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers + [0] * (self.length - len(numbers)))

    def _unknown(self, unknown: list[str]) -> str:
        """Return an error message about unknown words, with the nearest known words."""
        close = {word: difflib.get_close_matches(word, self.words, n=3, cutoff=0.5) for word in unknown}
        near = "; ".join(f"near {word!r}: {', '.join(words)}" for word, words in close.items() if words)
        names = " and ".join(map(repr, unknown))
        subject = f"word {names} is" if len(unknown) == 1 else f"words {names} are"
        return f"text: the {subject} unknown; {near or f'the known words are {_some(self.words)[2:]}'}"

    def text(self, row: Tensor) -> str:
        """Convert token indices (T,) back to a text. Zeros are padding and are skipped."""
        return " ".join(self.words[number - 1] for number in row.tolist() if number)

    def name_of(self, row: Tensor) -> str:
        return self.text(row)


@dataclass(frozen=True)
class ImageCondition(Condition):
    """Condition that is a source image.

    The condition tensor contains images (N, C, H, W) in uint8, in uint16, or in floating point in [-1, 1].
    """

    size: tuple[int, int, int]
    """Channels, height and width of a source image."""

    kind = "image"
    dtype = torch.float32

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else ()
        if len(sides) != 3 or not all(type(side) is int and side >= 1 for side in sides):
            raise InputError(f"ImageCondition({self.size!r}): give channels, height and width, such as (1, 64, 64)")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size

    def describe(self, names: bool = True) -> str:
        return f"source images of {'x'.join(map(str, self.size))}"

    def mistake(self, rows: Tensor) -> tuple[str, str] | None:
        if rows.shape[1:] == self.size and (wrong := values_mistake(rows)):
            return f"has source images with {wrong[0]}", f"source images with {wrong[1]}"
        return _wrong_form(rows, self.size, rows.dtype)

    def blank(self, count: int) -> Tensor:
        return torch.zeros(count, *self.size)

    def rows(self, count: int, requested: Requested, examples: Tensor | None) -> Tensor:
        _only_names(requested, ())
        if examples is None:
            raise InputError("the generator needs source images; name a folder of them with --input")
        return _cycled(examples, count)


KINDS: dict[str, type[Condition]] = {
    one.kind: one for one in (ClassCondition, VectorCondition, TokenCondition, ImageCondition)
}


def from_card(card: dict[str, Any] | None) -> Condition | None:
    """Return the condition that a JSON object from `Condition.to_card` describes, or None if `card` is None.

    Raises:
        ValueError, KeyError, TypeError: the object does not describe a condition.
    """
    if card is None:
        return None
    fields = {name: _as_tuples(value) for name, value in card.items() if name != "kind"}
    return KINDS[card["kind"]](**fields)


def values_mistake(images: Tensor) -> tuple[str, str] | None:
    """Check the data type and the values of images (N, ...). Return None if they are valid.

    Otherwise, return two texts for an error message. The first text describes the invalid data type or values. The
    second text describes valid values.
    """
    if images.dtype in (torch.uint8, torch.uint16):
        return None
    if not images.is_floating_point():
        return f"values of type {images.dtype}", "values of type uint8, uint16, or floating point from -1 to 1"
    low, high = images.min().item(), images.max().item()
    if -1 <= low <= high <= 1:
        return None
    return f"values from {low:g} to {high:g}", "values in floating point from -1 to 1"


def requested_by(wanted: Wanted) -> Requested:
    """Convert a condition that a user requests to a dict such as `{"class": "cat"}`.

    None is converted to an empty dict. A dict is returned unchanged.

    Raises:
        InputError: a key of the dict is not a string.
    """
    if isinstance(wanted, Mapping):
        if wrong := next((name for name in wanted if not isinstance(name, str)), None):
            raise InputError(f"{wrong!r}: the name of a condition must be a text")
        return wanted
    return {} if wanted is None else {"class": str(wanted)}


def words_of(text: str) -> list[str]:
    """Split a text into words in lower case, without punctuation. An apostrophe does not split a word."""
    return re.findall(r"[^\W_]+", re.sub("['’]", "", text.lower()))


def evenly_spaced(total: int, count: int) -> Tensor:
    """Return `count` evenly spaced indices from 0 to `total` - 1."""
    return torch.linspace(0, total - 1, count, dtype=torch.float64).round().long()


def _some(names: tuple[str, ...]) -> str:
    return f": {', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''}"


def _wrong_form(rows: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[str, str] | None:
    if rows.shape[1:] == shape and rows.dtype == dtype:
        return None
    expected = ", ".join(map(str, (len(rows), *shape)))
    return f"is {rows.dtype} of shape {tuple(rows.shape)}", f"{dtype} of shape ({expected}{',' if not shape else ''})"


def _check_names(owner: str, names: tuple[str, ...]) -> None:
    """Raise InputError unless `names` is a tuple of 1 to `MAX_LENGTH` different, non-empty strings.

    The error message starts with `owner`.
    """
    if not isinstance(names, tuple) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f'{owner}({names!r}): give a tuple of names, such as ("a", "b")')
    if not 0 < len(names) <= MAX_LENGTH or len(set(names)) < len(names):
        raise InputError(f"{owner}: {len(names)} names; give at least one, and each only once")


def _only_names(requested: Requested, names: Mapping[str, Any] | list[str] | tuple[str, ...]) -> None:
    for name in requested:
        if name not in names:
            there = f"it has {', '.join(names)}" if names else "it takes source images"
            raise InputError(f"{name}: the generator has no such condition; {nearest(name, names)}{there}")


def _cycled(rows: Tensor, count: int) -> Tensor:
    """Return the first `count` rows. If there are fewer than `count` rows, repeat them from the first row."""
    return rows[torch.arange(count) % len(rows)]


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(one) for one in value) if isinstance(value, list) else value
