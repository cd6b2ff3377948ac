"""Dataset of the rows of a user's table, from a CSV file, a Parquet file, or a file written by `gankit prepare`."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from gankit import Dataset, RecipePath, Settings, hookimpl, read_prepared
from gankit_plugins.data.table_files import read_table
from gankit_plugins.data.table_kinds import GivenKind, describe_columns
from gankit_plugins.data.table_rows import TableRows, dataset_of
from gankit_plugins.layers.table_columns import columns_of

PREPARED = ".safetensors"
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None", "?")


class Table(TableRows):
    """Your own table: a CSV file in UTF-8, a Parquet file (`pip install 'gankit[table]'`), or a prepared file.

    The first line of a CSV file contains the names of the columns. The kind of each column is detected: `number`,
    `integer`, `date` (such as 2024-12-31) or `category`. Integers and dates with at most 10 different values, and codes
    such as `00501`, are categories. `gankit validate` shows the kinds, and `columns` changes them. The kind `drop`
    leaves a column out. Missing cells of a category are a word of their own, and so are booleans. Missing numbers have
    a mode of their own.

    A number is encoded by its mode and its position within this mode. The modes are those of a mixture of at most 10
    Gaussians. The condition of a row is the word of one of its categories. Samples are written with the same columns,
    decimals and words: `gankit sample RUN --out rows.csv --count 1000`.

    Source: Xu 2019 (CTGAN), section 4.2. There, a variational mixture chooses the number of modes; here, the Bayesian
    information criterion does.

    When to use: for tables with numbers and categories, with the generator `ctgan`.
    When not: for free text, identifiers, or rows that depend on each other, such as time series.
    """

    name = "table"

    class Config(Settings):
        path: RecipePath = Field(description="a .csv or .parquet file, or a prepared .safetensors file")
        columns: dict[str, GivenKind] = Field(
            default_factory=dict,
            description='kinds of columns that are not as detected, such as { zip = "category", id = "drop" }',
        )
        missing: list[str] = Field(list(MISSING), description="texts of missing cells")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        if c.path.suffix.lower() == PREPARED:
            dataset = read_prepared(c.path)
            columns = columns_of(dataset.encoding, f"path: {c.path}: table")
            return replace(dataset, contents=f"{len(columns)} columns: {describe_columns(columns)}")
        return dataset_of(read_table(c.path), c.columns, c.missing)
