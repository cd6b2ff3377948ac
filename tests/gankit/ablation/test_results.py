"""Results from a log: the newest metrics, the time of an iteration, the last rows."""

import pytest

from gankit.ablation import results
from gankit.ablation.results import MetricValue, metric_names_before, metrics_at, read_last_rows, seconds_per_iteration


def test_metrics_at_an_iteration():
    # The generator is no part of the protocol, because `moving_average` evaluates another generator than the base.
    rows = [
        {"iteration": 10, "metrics": {"modes": 3, "good": 0.5}, "protocol": {"generator": "moving_average"}},
        {"iteration": 10, "metrics": {"precision": 0.4}, "protocol": {"samples": 100}, "seconds": 1.5},
        {"iteration": 20, "loss": {}, "seconds": 3.0},
        {"iteration": 20, "metrics": {"modes": 7}, "protocol": {}},
        {"iteration": 20, "metrics": {"modes": 8, "good": float("inf")}, "protocol": {}},
    ]
    assert metrics_at(rows, 10) == {
        "modes": MetricValue(3, "{}"),
        "good": MetricValue(0.5, "{}"),
        "precision": MetricValue(0.4, '{"samples": 100}'),
    }
    assert metrics_at(rows, 20) == {"modes": MetricValue(8, "{}"), "good": MetricValue(float("inf"), "{}")}
    assert metric_names_before(rows, 20) == {"modes", "good", "precision"}
    assert metric_names_before(rows, 10) == set()


def loss_rows(*pairs):
    return [{"iteration": iteration, "seconds": seconds, "loss": {}} for iteration, seconds in pairs]


@pytest.mark.parametrize(
    ("rows", "seconds"),
    [
        ([], None),
        (loss_rows((10, 5.0)), 0.5),
        (loss_rows((10, 5.0), (20, 7.0)), 0.2),
        (loss_rows((10, 5.0), (20, 7.0), (30, 9.0), (40, 60.0)), 0.2),
        # Resumed at 20: the clock starts again.
        (loss_rows((10, 9.0), (20, 11.0), (30, 4.0), (40, 6.0)), 0.2),
        ([*loss_rows((10, 5.0)), {"iteration": 15, "metrics": {}, "seconds": 99.0}, *loss_rows((20, 7.0))], 0.2),
    ],
)
def test_seconds_per_iteration(rows, seconds):
    assert seconds_per_iteration(rows) == (None if seconds is None else pytest.approx(seconds))


def test_the_last_rows_of_a_log_that_is_being_written(tmp_path):
    log = tmp_path / "log.jsonl"
    assert read_last_rows(log) == []
    log.write_text('{"iteration": 1}\n{"iteration": 2}\n{"itera')
    assert read_last_rows(log) == [{"iteration": 1}, {"iteration": 2}]
    log.write_text("".join(f'{{"iteration": {n}}}\n' for n in range(results.TAIL_BYTES // 10)))
    rows = read_last_rows(log)
    assert rows[-1] == {"iteration": results.TAIL_BYTES // 10 - 1}
    assert len(rows) < results.TAIL_BYTES // 10
