"""Distances between the columns of generated and of real tables."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean
from typing import ClassVar

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl
from gankit_plugins.layers.table_columns import Column, columns_of, decode_rows


def total_variation(x: Tensor, y: Tensor, words: int) -> float:
    """Return the total variation distance of the words (N,) and (M,): half the sum of |p_k - q_k|, from 0 to 1."""
    p, q = (one.long().bincount(minlength=words).double() / len(one) for one in (x, y))
    return 0.5 * (p - q).abs().sum().item()


def kolmogorov_smirnov(x: Tensor, y: Tensor) -> float:
    """Return the largest difference of the cumulative distributions of numbers (N,) and (M,), from 0 to 1.

    A missing number (NaN) is a value above all others, so the proportions of missing numbers count too.
    """
    x, y = (one.nan_to_num(nan=torch.inf, posinf=torch.inf).sort().values for one in (x, y))
    points = torch.cat([x, y])
    below_x, below_y = (torch.searchsorted(one, points, right=True).double() / len(one) for one in (x, y))
    return (below_x - below_y).abs().max().item()


def pearson(x: Tensor, y: Tensor) -> float:
    """Return the absolute correlation of numbers (N,), from 0 to 1. Constant numbers have 0."""
    x, y = x - x.mean(), y - y.mean()
    scale = (x.square().sum() * y.square().sum()).sqrt()
    return min(1.0, ((x * y).sum() / scale).abs().item()) if scale > 0 else 0.0


def correlation_ratio(words: Tensor, y: Tensor) -> float:
    """Return eta, from 0 to 1, for words (N,) and numbers (N,): how far the word determines the number.

    eta^2 is the variance of the words' means over the variance of the numbers. Constant numbers have 0.

    Source:
        Fisher 1925.
    """
    counts = words.long().bincount().double()
    means = words.long().bincount(weights=y) / counts.clamp(min=1)
    total = (y - y.mean()).square().sum()
    between = (counts * (means - y.mean()).square()).sum()
    return min(1.0, (between / total).sqrt().item()) if total > 0 else 0.0


def cramers_v(x: Tensor, y: Tensor) -> float:
    """Return V, from 0 to 1, for words (N,) and (N,): how far one word determines the other.

    Source:
        Cramer 1946: V^2 = chi^2 / (N (min(rows, columns) - 1)). A constant word has 0.
    """
    _, a = x.unique(return_inverse=True)
    _, b = y.unique(return_inverse=True)
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    if min(rows, columns) < 2:
        return 0.0
    table = (a * columns + b).bincount(minlength=rows * columns).double().view(rows, columns)
    expected = table.sum(1, keepdim=True) * table.sum(0) / len(x)
    chi = ((table - expected).square() / expected).sum().item()
    return min(1.0, (chi / (len(x) * (min(rows, columns) - 1))) ** 0.5)


def association(x: Tensor, y: Tensor, is_category: tuple[bool, bool]) -> float:
    """Return the association of two columns, from 0 to 1: Pearson, correlation ratio, or Cramer's V.

    Rows with a missing number in one of the columns are left out.
    """
    known = ~(x.isnan() | y.isnan())
    x, y = x[known], y[known]
    if len(x) < 2:
        return 0.0
    if all(is_category):
        return cramers_v(x, y)
    if any(is_category):
        return correlation_ratio(x, y) if is_category[0] else correlation_ratio(y, x)
    return pearson(x, y)


def values_of(comparison: Comparison, owner: str) -> tuple[tuple[Column, ...], list[Tensor], list[Tensor]]:
    """Return the columns of the table, and the values of each column of the real and of the generated rows."""
    columns = columns_of(comparison.real.encoding, owner)

    def decode() -> tuple[list[Tensor], list[Tensor]]:
        return decode_rows(comparison.real.images, columns), decode_rows(comparison.fake.images, columns)

    real, fake = comparison.cached("table columns", decode)
    return columns, real, fake


class TableColumns(Plugin):
    """Distances of the columns' distributions, and of the associations between columns.

    `column_distance` is the mean over the columns of the total variation distance (categories) or the
    Kolmogorov-Smirnov distance (numbers). `column_distance_worst` is the largest one. `association_distance` is the
    mean over the pairs of columns of the absolute difference between the association in real and in generated rows. The
    association is Pearson's correlation without its sign for two numbers, the correlation ratio for a number and a
    category, and Cramer's V for two categories. All values are from 0, equal, to 1. Two sets of real rows do not have
    exactly 0, because they are finite.

    Source: the measures of Kolmogorov, Smirnov, Pearson, Fisher and Cramer, as in common reports on synthetic tables.

    When to use: with every table.
    When not: as a proof that rows are plausible. Columns and pairs can agree while combinations of three are wrong; see
    `table_prediction`.
    """

    name = "table_columns"
    kind = "metric"
    better: ClassVar = dict.fromkeys(("column_distance", "column_distance_worst", "association_distance"), "lower")

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        columns, real, fake = values_of(comparison, self.name)
        own = [
            total_variation(r, f, len(column.words)) if column.is_category else kolmogorov_smirnov(r, f)
            for column, r, f in zip(columns, real, fake, strict=True)
        ]
        metrics = {"column_distance": fmean(own), "column_distance_worst": max(own)}
        gaps = []
        for i, j in combinations(range(len(columns)), 2):
            both = (columns[i].is_category, columns[j].is_category)
            gaps.append(abs(association(real[i], real[j], both) - association(fake[i], fake[j], both)))
        return metrics | ({"association_distance": fmean(gaps)} if gaps else {})
