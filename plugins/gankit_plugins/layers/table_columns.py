"""Columns of a table: conversion between the values of a column and the numbers that networks generate.

A row of a table is a vector (F,), the concatenation of the parts of its columns. The part of a category is a one-hot
vector. The part of a number is its position within a mode of the column's distribution, in [-1, 1], and the one-hot
vector of this mode. A missing number has a mode of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gankit import InputError
from gankit_plugins.layers.mixture import Mixture, log_joint

Kind = Literal["number", "integer", "date", "category"]
KINDS: tuple[Kind, ...] = get_args(Kind)

WIDTH = 4.0
"""Number of standard deviations from the centre of a mode to the positions -1 and 1 (Xu 2019, section 4.2)."""


@dataclass(frozen=True)
class Column:
    """Column of a table: its name, its kind, and the facts about its values that the encoding needs."""

    name: str
    kind: Kind
    words: tuple[str, ...] = ()
    """Values of a category, sorted. A missing value is a word too. Empty for numbers."""

    counts: tuple[int, ...] = ()
    """Number of rows with each word. Empty for numbers."""

    weights: tuple[float, ...] = ()
    """Proportions of the modes of a number. Empty for categories."""

    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    """Smallest and largest value. Generated values are clamped to this range."""

    decimals: int | None = None
    """Number of decimals of the values in the file. None if the file contains exponents."""

    missing: str | None = None
    """Text of a missing number in the file, such as an empty text. None if no number is missing."""

    missing_share: float = 0.0
    """Proportion of missing numbers."""

    @property
    def is_category(self) -> bool:
        """True for a category. False for numbers, integers and dates."""
        return self.kind == "category"

    @property
    def choices(self) -> int:
        """Size of the one-hot vector: number of words, or number of modes including the mode of missing numbers."""
        return len(self.words) if self.is_category else len(self.means) + (self.missing is not None)

    @property
    def size(self) -> int:
        """Number of elements of the column's part of a row."""
        return self.choices + (not self.is_category)

    def mixture(self) -> Mixture:
        """Return the mixture of Gaussians of a number's modes."""
        return Mixture(*(torch.tensor(one, dtype=torch.float64) for one in (self.weights, self.means, self.stds)))

    def encode(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Return the parts (N, size), float32, of values (N,): indices of words, or numbers with NaN for missing ones.

        The mode of a number is drawn from the posterior probabilities of the modes (Xu 2019, section 4.2).
        """
        rows = torch.zeros(len(values), self.size)
        if self.is_category:
            rows[torch.arange(len(values)), values.long()] = 1
            return rows
        known = ~values.isnan()
        x, mixture = values[known], self.mixture()
        if len(x):
            posterior = log_joint(x, mixture).softmax(1)
            modes = torch.multinomial(posterior, 1, generator=generator)[:, 0]
            position = (x - mixture.means[modes]) / (WIDTH * mixture.stds[modes])
            rows[known, 0] = position.clamp(-1, 1).float()
            rows[known, 1 + modes] = 1
        rows[~known, self.size - 1] = 1
        return rows

    def decode(self, rows: Tensor) -> Tensor:
        """Return the values (N,), float64, of parts (N, size): indices of words, or numbers with NaN for missing ones.

        The one-hot vectors may be relaxed: the largest element counts. Numbers are rounded as in the file.
        """
        if self.is_category:
            return rows.argmax(1).double()
        modes = rows[:, 1:].argmax(1)
        missing = modes == len(self.means)
        mixture, modes = self.mixture(), modes.clamp(max=len(self.means) - 1)
        values = mixture.means[modes] + rows[:, 0].double() * WIDTH * mixture.stds[modes]
        values = values.clamp(self.low, self.high)
        if self.decimals is not None:
            values = values.mul(10.0**self.decimals).round() / 10.0**self.decimals
        return torch.where(missing, math.nan, values)


def split(rows: Tensor, columns: Sequence[Column]) -> tuple[Tensor, ...]:
    """Split rows (N, F) into the parts of the columns."""
    return rows.split([column.size for column in columns], dim=1)


def decode_rows(rows: Tensor, columns: Sequence[Column]) -> list[Tensor]:
    """Return the values (N,) of each column, from rows (N, F)."""
    return [column.decode(part) for column, part in zip(columns, split(rows.cpu(), columns), strict=True)]


def width_of(columns: Iterable[Column]) -> int:
    """Return F, the number of elements of a row."""
    return sum(column.size for column in columns)


def to_encoding(columns: Iterable[Column]) -> dict[str, Any]:
    """Return the description of columns as a JSON object, for `Dataset.encoding`."""
    return {"columns": [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(c).items()} for c in columns]}


def columns_of(encoding: Mapping[str, Any], owner: str) -> tuple[Column, ...]:
    """Return the columns that `Dataset.encoding` describes. `owner` is the plugin that needs them.

    Raises:
        InputError: the data are not a table.
    """
    if "columns" not in encoding:
        raise InputError(f'{owner} needs the rows of a table, and the data are none; use data = "table"')
    return tuple(Column(**{name: _as_tuple(value) for name, value in one.items()}) for one in encoding["columns"])


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def categories(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns that are categories, in their order."""
    return tuple(column for column in columns if column.is_category)


def row_features(rows: Tensor, columns: Sequence[Column], without: str | None = None) -> Tensor:
    """Return features (N, D), float32, of rows (N, F), with which distances between rows are meaningful.

    A number is standardised with the mean and standard deviation of the column. A missing number becomes 0, and has an
    indicator if the column has missing numbers. A category becomes a one-hot vector of length 1 / sqrt(2), so that two
    different words have the distance 1. The column `without` is left out.
    """
    parts = []
    for column, values in zip(columns, decode_rows(rows, columns), strict=True):
        if column.name == without:
            continue
        if column.is_category:
            parts.append(torch.nn.functional.one_hot(values.long(), len(column.words)) / math.sqrt(2))
            continue
        mixture = column.mixture()
        mean = (mixture.weights * mixture.means).sum()
        variance = (mixture.weights * (mixture.stds.square() + (mixture.means - mean).square())).sum()
        parts.append(((values - mean) / variance.sqrt()).nan_to_num(0.0)[:, None])
        if column.missing is not None:
            parts.append(values.isnan()[:, None])
    return torch.cat([part.float() for part in parts], dim=1)
