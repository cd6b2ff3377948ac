"""Kinds of table columns: detection of the kind, conversion of texts to values, and of values to texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any, Literal

import torch
from torch import Tensor

from gankit import InputError
from gankit_plugins.data.table_files import Cells, decimals_of
from gankit_plugins.layers.mixture import fit_mixture
from gankit_plugins.layers.table_columns import Column, Kind

GivenKind = Literal[Kind, "drop"]
"""Kind of a column in the settings. A column with the kind `drop` is left out."""

FEW = 10
"""Maximum number of different integers or dates in a column that is a category unless the user says otherwise."""

MANY = 1000
"""Maximum number of different words of a category."""

MODES = 10
"""Maximum number of modes of a number (Xu 2019, section 4.2)."""

LARGEST = 1e100
"""Largest absolute value of a number. The squares of larger ones would be beyond the range of float64."""

EXACT = 2**53
"""Largest absolute value of an integer. float64 does not contain all larger integers."""


def value_of(text: str, kind: Kind) -> float:
    """Return the value of a text: a number, or the number of days of an ISO date.

    Raises:
        ValueError: the text has no such value, or the value is too large.
    """
    if kind == "date":
        return date.fromisoformat(text).toordinal()
    value = float(text)
    if not abs(value) <= (EXACT if kind == "integer" else LARGEST) or "_" in text:
        raise ValueError(text)
    if kind == "integer" and not value.is_integer():
        raise ValueError(text)
    return value


def is_kind(texts: Collection[str], kind: Kind) -> bool:
    """Return True if all texts have values of this kind."""
    with suppress(ValueError):
        for text in texts:
            value_of(text, kind)
        return True
    return False


def detect_kind(texts: Collection[str]) -> Kind:
    """Return the kind of a column with these different texts. Missing cells are not among the texts.

    Integers and dates with few different values are categories, and so are texts such as `00501`, a postal code.
    """
    codes = any(re.match(r"[+-]?0\d", text) for text in texts)
    if not texts or codes or len(texts) < 2:
        return "category"
    for kind in ("integer", "date", "number"):
        if is_kind(texts, kind):
            return "category" if kind != "number" and len(texts) <= FEW else kind
    return "category"


def fit_columns(
    cells: Cells, given: Mapping[str, GivenKind], missing: Sequence[str]
) -> tuple[list[Column], list[Tensor]]:
    """Return the columns of a table, and the values (N,) float64 of each column.

    Args:
        cells: texts of the table.
        given: kinds that the user gives. Other kinds are detected.
        missing: texts of missing cells.

    Raises:
        InputError: a column does not have the given kind, or has too many words.
    """
    for name in given:
        if name not in cells:
            raise InputError(f"columns: there is no column {name!r}; there are {', '.join(cells)}")
    kept = {name: texts for name, texts in cells.items() if given.get(name) != "drop"}
    if not kept:
        raise InputError("columns: all columns are dropped; keep at least one")
    fitted = [fit_column(name, texts, given.get(name), missing) for name, texts in kept.items()]
    return [column for column, _ in fitted], [values for _, values in fitted]


def fit_column(name: str, texts: Sequence[str], given: Any, missing: Sequence[str]) -> tuple[Column, Tensor]:
    """Return a column, and its values (N,) float64. The errors are those of `fit_columns`."""
    counts = Counter(texts)
    known = {text: n for text, n in counts.items() if text not in missing}
    kind: Kind = given or detect_kind(known)
    if kind == "category":
        words = tuple(sorted(counts))
        if len(words) > MANY:
            raise InputError(
                f"columns: {name!r} has {len(words)} different words, at most {MANY} are possible; if it is a text or "
                f'an identifier, leave it out with columns = {{ "{name}" = "drop" }}'
            )
        index = {word: number for number, word in enumerate(words)}
        values = torch.tensor([index[text] for text in texts], dtype=torch.float64)
        return Column(name, kind, words, tuple(counts[word] for word in words)), values
    if wrong := next((text for text in known if not is_kind([text], kind)), None):
        raise InputError(
            f"columns: {name!r} is given as {kind}, and has the cell {wrong!r}; give another kind, or add the text to "
            "the setting `missing`"
        )
    if not known:
        raise InputError(f"columns: {name!r} is given as {kind}, and all its cells are missing; drop it")
    value = {text: value_of(text, kind) for text in known}
    values = torch.tensor([value.get(text, math.nan) for text in texts], dtype=torch.float64)
    present = values[~values.isnan()]
    decimals = decimals_of(list(known)) if kind == "number" else 0
    step = 10.0**-decimals if decimals is not None else 0.0
    # A column of zeros has no scale of its own, hence the last limit.
    smallest = max(0.5 * step, 1e-3 * present.std(correction=0).item(), 1e-9 * present.abs().max().item(), 1e-100)
    mixture = fit_mixture(present, MODES, smallest)
    absent = [text for text in counts if text not in known]
    return (
        Column(
            name,
            kind,
            weights=tuple(mixture.weights.tolist()),
            means=tuple(mixture.means.tolist()),
            stds=tuple(mixture.stds.tolist()),
            low=present.min().item(),
            high=present.max().item(),
            decimals=decimals,
            missing=max(absent, key=lambda text: counts[text]) if absent else None,
            missing_share=1 - len(present) / len(values),
        ),
        values,
    )


def text_of(column: Column, value: float) -> str:
    """Return the text of a value in a file: the word, the number with the file's decimals, or the ISO date."""
    if column.is_category:
        return column.words[int(value)]
    if math.isnan(value):
        return column.missing or ""
    if column.kind == "date":
        return date.fromordinal(round(value)).isoformat()
    # Adding 0 turns -0.0 into 0.0.
    return f"{value + 0.0:.6g}" if column.decimals is None else f"{value + 0.0:.{column.decimals}f}"


def typed_value(column: Column, value: float) -> str | int | float | date | None:
    """Return a value in the type of a Parquet file: text, integer, number or date. None for a missing number."""
    if not column.is_category and math.isnan(value):
        return None
    if column.is_category:
        return column.words[int(value)]
    if column.kind == "number":
        return value
    return date.fromordinal(round(value)) if column.kind == "date" else round(value)


def describe_columns(columns: Sequence[Column]) -> str:
    """Return a text with the kinds of the columns, such as `age: integer with 3 modes, job: category with 9 words`."""
    texts = []
    for column in columns:
        size = f"{len(column.words)} words" if column.is_category else f"{len(column.means)} modes"
        missing = ", some missing" if column.missing is not None else ""
        texts.append(f"{column.name}: {column.kind} ({size}{missing})")
    return ", ".join(texts)
