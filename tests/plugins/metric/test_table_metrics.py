"""Tests of the metrics for tables."""

import math

import pytest
import torch

from gankit import Comparison, InputError
from gankit.plugin.comparison import Samples
from gankit_plugins.data.drawn_table import DrawnTable
from gankit_plugins.layers.table_columns import columns_of
from gankit_plugins.metric.table_columns import (
    TableColumns,
    association,
    correlation_ratio,
    cramers_v,
    kolmogorov_smirnov,
    pearson,
    total_variation,
)
from gankit_plugins.metric.table_prediction import TablePrediction, balanced_accuracy


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_distances_of_columns_by_hand():
    assert total_variation(numbers(0, 0, 1, 1), numbers(0, 2), 3) == pytest.approx(0.5)
    assert kolmogorov_smirnov(numbers(1, 2, 3, 4), numbers(3, 4, 5, 6)) == pytest.approx(0.5)
    assert kolmogorov_smirnov(numbers(1, 1, 2), numbers(1, 1, 2)) == 0
    # Half of the first numbers are missing, and none of the second.
    assert kolmogorov_smirnov(numbers(1, math.nan), numbers(1, 1)) == pytest.approx(0.5)


def test_kolmogorov_smirnov_by_a_naive_loop():
    torch.manual_seed(0)
    x, y = torch.randn(50).double().round(decimals=1), (torch.randn(70) + 0.3).double().round(decimals=1)
    naive = max(abs((x <= p).double().mean() - (y <= p).double().mean()) for p in torch.cat([x, y]))
    assert kolmogorov_smirnov(x, y) == pytest.approx(naive.item())


def test_associations():
    torch.manual_seed(1)
    x = torch.randn(500, dtype=torch.float64)
    y = -x + torch.randn(500).double()
    assert pearson(x, y) == pytest.approx(abs(torch.corrcoef(torch.stack([x, y]))[0, 1].item()))
    assert pearson(x, torch.ones(500).double()) == 0
    words = numbers(0, 0, 1, 1)
    assert correlation_ratio(words, numbers(1, 1, 5, 5)) == pytest.approx(1)
    # Means 1 and 3 around 2, and a total sum of squares of 4 + 2 * 2 around the means.
    assert correlation_ratio(words, numbers(0, 2, 2, 4)) == pytest.approx(math.sqrt(4 / 8))
    assert cramers_v(numbers(0, 1, 2, 0), numbers(5, 3, 4, 5)) == pytest.approx(1)
    assert cramers_v(numbers(0, 0, 1, 1), numbers(0, 1, 0, 1)) == pytest.approx(0)
    # Counts [[3, 1], [1, 3]]: chi^2 = 8 * (1 / 4) = 2, and V = sqrt(2 / 8).
    assert cramers_v(numbers(0, 0, 0, 0, 1, 1, 1, 1), numbers(0, 0, 0, 1, 0, 1, 1, 1)) == pytest.approx(0.5)
    assert association(numbers(1, 2, math.nan), numbers(2, 4, 100), (False, False)) == pytest.approx(1)


@pytest.fixture(scope="module")
def data():
    dataset = DrawnTable(DrawnTable.Config(count=2000)).load_data()
    return dataset.read().images, dataset.encoding


def compared(real, fake, encoding):
    return Comparison(Samples(real, encoding=encoding), Samples(fake), None, {})


def test_two_halves_of_a_table_are_close_and_shuffled_columns_are_not(data):
    rows, encoding = data
    torch.manual_seed(2)
    columns = columns_of(encoding, "test")
    parts = rows[1000:].split([column.size for column in columns], dim=1)
    shuffled = torch.cat([part[torch.randperm(1000)] for part in parts], dim=1)
    near, far = (compared(rows[:1000], fake, encoding) for fake in (rows[1000:], shuffled))
    metric = TableColumns(TableColumns.Config())
    close, apart = metric.compute_metrics(near), metric.compute_metrics(far)
    assert close["column_distance"] == pytest.approx(apart["column_distance"])
    assert close["column_distance"] <= close["column_distance_worst"] < 0.06
    assert close["association_distance"] < 0.05 < 0.15 < apart["association_distance"]
    prediction = TablePrediction(TablePrediction.Config())
    close, apart = prediction.compute_metrics(near), prediction.compute_metrics(far)
    assert close["accuracy_real"] > 0.85
    assert abs(close["accuracy_gap"]) < 0.06
    assert apart["accuracy_gap"] > 0.25


def test_the_order_of_the_rows_has_no_effect_on_the_prediction(data):
    rows, encoding = data
    by_label = rows[:1000][rows[:1000, -1].argsort()]
    prediction = TablePrediction(TablePrediction.Config())
    assert prediction.compute_metrics(compared(by_label, rows[1000:], encoding))["accuracy_real"] > 0.85


def test_the_label_is_a_category(data):
    rows, encoding = data
    with pytest.raises(InputError, match="label: 'age' is no category of the table; there are job, member"):
        TablePrediction(TablePrediction.Config(label="age")).compute_metrics(compared(rows, rows, encoding))
    assert balanced_accuracy(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 0])) == 0.75
    assert balanced_accuracy(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1])) == 0.5
