"""What is read from a log: the newest measures, the time of an iteration, how far a run is."""

import json

import pytest

from gankit.ablation.results import (
    TAIL,
    MetricResults,
    measures_at,
    measures_before,
    newest_rows,
    seconds_per_iteration,
)


def test_what_was_measured_at_an_iteration_in_both_shapes():
    rows = [
        {"iteration": 10, "metrics": {"modes": 3, "good": 0.5}},
        {"iteration": 10, "metrics": {"precision": 0.4}, "protocol": {"samples": 100}, "seconds": 1.5},
        {"iteration": 20, "loss": {}, "seconds": 3.0},
        {"iteration": 20, "metrics": {"modes": 7}},
        {"iteration": 20, "metrics": {"modes": 8, "good": float("inf")}},
    ]
    at_ten = {
        "modes": MetricResults(3, ""),
        "good": MetricResults(0.5, ""),
        "precision": MetricResults(0.4, '{"samples": 100}'),
    }
    assert measures_at(rows, 10) == at_ten
    assert measures_at(rows, 20) == {"modes": MetricResults(8, ""), "good": MetricResults(float("inf"), "")}
    assert measures_before(rows, 20) == {"modes", "good", "precision"}
    assert measures_before(rows, 10) == set()


def marks(*pairs):
    return [{"iteration": iteration, "seconds": seconds, "loss": {}} for iteration, seconds in pairs]


@pytest.mark.parametrize(
    ("rows", "seconds"),
    [
        ([], None),
        (marks((10, 5.0)), 0.5),
        (marks((10, 5.0), (20, 7.0)), 0.2),
        (marks((10, 5.0), (20, 7.0), (30, 9.0), (40, 60.0)), 0.2),
        # Resumed at 20: the clock begins anew.
        (marks((10, 9.0), (20, 11.0), (30, 4.0), (40, 6.0)), 0.2),
        ([*marks((10, 5.0)), {"iteration": 15, "metrics": {}, "seconds": 99.0}, *marks((20, 7.0))], 0.2),
    ],
)
def test_seconds_per_iteration(rows, seconds):
    assert seconds_per_iteration(rows) == (None if seconds is None else pytest.approx(seconds))


def test_the_end_of_a_log_that_is_being_written(tmp_path):
    log = tmp_path / "log.jsonl"
    assert newest_rows(log) == []
    log.write_text('{"iteration": 1}\n{"iteration": 2}\n{"itera')
    assert newest_rows(log) == [{"iteration": 1}, {"iteration": 2}]
    log.write_text("".join(json.dumps({"iteration": n}) + "\n" for n in range(10_000)))
    rows = newest_rows(log)
    assert rows[-1] == {"iteration": 9_999}
    assert len(rows) < 10_000
    assert len(log.read_bytes()) > TAIL


def test_which_generator_was_measured_is_the_tricks_business():
    """`moving_average` measures another generator than the recipe without it, and may be compared all the same."""
    rows = [
        {"iteration": 1, "metrics": {"x": 1.0}, "protocol": {"count": 5, "generator": generator}}
        for generator in ("newest", "moving_average")
    ]
    protocols = {measures_at([row], 1)["x"].protocol for row in rows}
    assert protocols == {'{"count": 5}'}
