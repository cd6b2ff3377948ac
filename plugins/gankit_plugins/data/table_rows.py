"""Base class of datasets of table rows: encoding of the columns, and files and pictures of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from gankit import Dataset, Plugin, Spec, VectorCondition, hookimpl
from gankit_plugins.data.table_files import SUFFIXES, Cells, write_csv, write_parquet
from gankit_plugins.data.table_kinds import GivenKind, describe_columns, fit_columns, text_of, typed_value
from gankit_plugins.data.table_picture import draw_columns
from gankit_plugins.layers.table_columns import (
    Column,
    categories,
    columns_of,
    decode_rows,
    split,
    to_encoding,
    width_of,
)

SEED = 0
"""Seed of the random choices of the encoding, so that each read of a file gives the same tensors."""


def dataset_of(cells: Cells, given: Mapping[str, GivenKind], missing: Sequence[str]) -> Dataset:
    """Return the dataset of a table: encoded rows (N, F), with a word of one category of each row as the condition.

    The arguments and the errors are those of `fit_columns`.
    """
    columns, values = fit_columns(cells, given, missing)
    names = condition_names(columns)

    def load() -> tuple[Tensor, Tensor | None]:
        generator = torch.Generator().manual_seed(SEED)
        rows = torch.cat([one.encode(v, generator) for one, v in zip(columns, values, strict=True)], dim=1)
        return rows, own_conditions(rows, columns, generator) if names else None

    return Dataset(
        (width_of(columns),),
        VectorCondition(names) if names else None,
        load,
        note="rows of a table",
        contents=f"{len(values[0]):,} rows, {len(columns)} columns: {describe_columns(columns)}",
        encoding=to_encoding(columns),
    )


def condition_names(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the names of the numbers of the condition, such as `job=nurse`, one for each word of each category."""
    return tuple(f"{column.name}={word}" for column in categories(columns) for word in column.words)


def own_conditions(rows: Tensor, columns: Sequence[Column], generator: torch.Generator) -> Tensor:
    """Return a condition (N, K) for each row: the row's word of one random category. All other numbers are 0.

    Source: Xu 2019, section 4.3.
    """
    parts = [part for column, part in zip(columns, split(rows, columns), strict=True) if column.is_category]
    chosen = torch.randint(len(parts), (len(rows), 1), generator=generator)
    return torch.cat([part * (chosen == number) for number, part in enumerate(parts)], dim=1)


class TableRows(Plugin):
    """Base class of datasets of table rows. Samples are written as CSV or Parquet, and drawn as histograms."""

    kind = "data"
    sample_suffixes: ClassVar = SUFFIXES

    @hookimpl
    def draw_samples(self, images: Tensor, spec: Spec) -> Image.Image:
        return draw_columns(images, columns_of(spec.encoding, self.name))

    @hookimpl
    def save_samples(self, samples: Tensor, names: Sequence[str], folder: Path, spec: Spec) -> list[Path]:
        cells = texts(samples, columns_of(spec.encoding, self.name))
        paths = [folder / f"{name}.csv" for name in names]
        for row, path in enumerate(paths):
            write_csv(path, {name: column[row : row + 1] for name, column in cells.items()})
        return paths

    @hookimpl
    def save_sample_file(self, samples: Tensor, path: Path, spec: Spec) -> Path:
        columns = columns_of(spec.encoding, self.name)
        if path.suffix.lower() == ".csv":
            write_csv(path, texts(samples, columns))
            return path
        values = zip(columns, decode_rows(samples, columns), strict=True)
        write_parquet(path, {one.name: [typed_value(one, v) for v in column.tolist()] for one, column in values})
        return path


def texts(rows: Tensor, columns: Sequence[Column]) -> Cells:
    """Return the texts of rows (N, F) by the name of the column."""
    values = zip(columns, decode_rows(rows, columns), strict=True)
    return {column.name: [text_of(column, value) for value in one.tolist()] for column, one in values}
