"""Comparison of runs: which runs share a row, and which values share a column."""

from pathlib import Path

import pytest

from gankit.formatting import brief
from gankit.report.comparison import (
    RepeatedWarning,
    compare_runs,
    format_ending,
    format_spread,
    format_warning,
    group_runs,
    merge_warnings,
    transpose,
)
from gankit.report.run_record import Ending, Metric, RunRecord, as_protocol


def record(name, seed=0, metrics=None, state="finished", iteration=100, reason=None, warnings=(), code=(), **recipe):
    """Return a record. `code` has a version and a digest for each process."""
    tables = {"name": "toy", "seed": seed, "train": {"iterations": 100}, "loss": {"use": "hinge"}} | recipe
    environment = {"torch": "2", "device_name": "cpu", "threads": 2, "parameters": {"generator": 1000}}
    processes = [environment | {"plugins": plugins_of(*of)} for of in code] or [environment]
    processes[-1] = processes[-1] | {"ended": {"seconds": 10.0, "peak_memory": {"process": 5_000_000}}}
    ending = Ending(state, iteration, reason)
    return RunRecord(Path(name), tables, processes, [], metrics or {}, list(warnings), {}, ending)


def plugins_of(version, digest):
    """Return the record of a loss, beside a metric whose code always differs."""
    loss = {"use": "hinge", "distribution": "kit", "version": version, "origin": "kit:Hinge", "sha256": digest * 64}
    return {"loss": loss, "metrics.fid": loss | {"use": "fid", "sha256": f"{digest}{version}"}}


def metric(name="fid", **protocol):
    return Metric(name, as_protocol(protocol))


FID = metric(count=2000)


def column(comparison, heading):
    return [row[comparison.headings.index(heading)] for row in comparison.rows]


def test_runs_that_differ_only_in_the_seed_share_a_row():
    values = {0: 3.0, 1: 5.0, 2: 10.0}
    runs = [record(f"r{seed}", seed, {FID: [(50, 99.0), (100, value)]}) for seed, value in values.items()]
    other = record("other", 0, {FID: [(100, 4.0)]}, loss={"use": "minimax"})
    comparison = compare_runs([runs[0], other, runs[1], runs[2]])
    assert column(comparison, "run") == ["loss hinge (seeds 0, 1, 2)", "loss minimax"]
    assert column(comparison, "fid") == ["6 (3 to 10), n 3", "4"]
    assert column(comparison, "parameters of G") == ["1,000", "1,000"]
    assert column(comparison, "time") == ["10 s, n 3", "10 s"]
    assert column(comparison, "memory of the process") == ["5 MB, n 3", "5 MB"]
    assert comparison.notes[0].startswith("Several seeds: the mean, the lowest and highest value")
    assert not any(note.startswith("fid") for note in comparison.notes)
    assert "memory on the GPU" not in comparison.headings


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ([("1", "b")], "kit 1, source bbbbbbbb"),
        ([("2", "a")], "kit 2, source aaaaaaaa"),
        ([("1", "a"), ("2", "a")], "kit 1, source aaaaaaaa, then kit 2, source aaaaaaaa"),
    ],
    ids=["source", "version", "resumed"],
)
def test_runs_of_different_code_are_different_groups(changed, code):
    first = [("1", "a")]
    codes = {"r0": first, "r2": changed, "r1": first * 2, "r3": changed}
    comparison = compare_runs([record(name, int(name[1]) % 2, code=of) for name, of in codes.items()])
    assert column(comparison, "run") == [
        "toy, loss of kit 1, source aaaaaaaa (seeds 0, 1)",
        f"toy, loss of {code} (seeds 0, 1)",
    ]
    text = "The code differs between runs: loss. Runs with different plugins are not repetitions."
    assert comparison.notes[-1] == text


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        # A second run of a seed is a group of its own.
        ("a/0 b/1 c/1", ["toy (seeds 0, 1)", "c/1"]),
        ("old/0 old/1 new/0 new/1", ["toy, in old (seeds 0, 1)", "toy, in new (seeds 0, 1)"]),
        ("runs/0 runs/1 runs/new/0 runs/new/1", ["toy, in runs (seeds 0, 1)", "toy, in new (seeds 0, 1)"]),
        ("a0/0 b0/1 c0/1 d0/0", ["toy, a0/0 and b0/1 (seeds 0, 1)", "toy, c0/1 and d0/0 (seeds 0, 1)"]),
    ],
)
def test_names_of_groups(runs, labels):
    groups = group_runs([record(name, int(name[-1])) for name in runs.split()])
    assert [group.label for group in groups] == labels


def test_a_metric_may_have_the_name_of_a_column():
    metrics = {metric(name): [(100, value)] for name, value in (("time", 0.25), ("state", 0.5))}
    comparison = compare_runs([record("a", 0, metrics), record("b", 1, loss={"use": "minimax"})])
    assert column(comparison, "run") == ["seed 0, loss hinge", "seed 1, loss minimax"]
    cells = [cell for cell in zip(comparison.headings, comparison.rows[0], strict=True) if cell[0] in ("time", "state")]
    assert cells == [("state", "finished at 100"), ("time", "0.25"), ("state", "0.5"), ("time", "10 s")]


def test_values_of_different_protocols_have_different_columns():
    few, many, other = metric(count=2000, net="a"), metric(count=10000, net="a"), metric(net="a")
    runs = [record("a", 0, {few: [(100, 12.0)]}), record("b", 1, {few: [(100, 14.0)], many: [(100, 8.0)]})]
    comparison = compare_runs([*runs, record("c", 2, {other: [(100, 1.0)]})])
    assert column(comparison, "fid (count 2000)") == ["13 (12 to 14), n 2"]
    assert column(comparison, "fid (count 10000)") == ["8, n 1"]
    assert column(comparison, "fid (otherwise)") == ["1, n 1"]
    assert "fid" not in comparison.headings
    (note,) = [note for note in comparison.notes if note.startswith("fid")]
    assert note.startswith("fid was computed with 3 protocols and has a column for each: ")


def test_values_of_different_iterations_are_not_averaged():
    runs = [record("a", 0, {FID: [(100, 4.0)]}), record("b", 1, {FID: [(30, 90.0)]}, "stopped", 30, "collapsed")]
    comparison = compare_runs(runs)
    assert column(comparison, "fid") == ["4, n 1 at 100\n90, n 1 at 30"]
    assert column(comparison, "state") == ["1 finished at 100, 1 stopped at 30"]
    assert any("The iteration is given where it differs" in note for note in comparison.notes)


def test_a_note_names_a_seed_without_a_metric_that_others_have():
    both = {FID: [(100, 3.0)], metric("kid"): [(100, 1.0)]}
    runs = [record("a", 0, both), record("b", 1, {}, state="cut short"), record("c", 2, both)]
    alone = record("alone", 0, loss={"use": "minimax"})
    notes = [note for note in compare_runs([*runs, alone]).notes if "has no" in note]
    assert notes == ["loss hinge (seeds 0, 1, 2): seed 1 has no fid, kid, which other seeds have (b)."]
    assert not any("has no" in note for note in compare_runs([runs[0], runs[2], alone]).notes)


def test_a_note_names_different_machines():
    slow = record("b", 1)
    slow.processes[0]["threads"] = 1
    (note,) = [note for note in compare_runs([record("a"), slow]).notes if "machines" in note]
    assert "cpu, 2 threads, torch 2; cpu, 1 thread, torch 2" in note


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "-"),
        ([None], "-"),
        ([1.5], "1.5"),
        ([1.0, None, 2.0], "1.5 (1 to 2), n 2"),
        ([8.0, 8.0], "8, n 2"),
        ([8.0, None], "8, n 1"),
        ([float("nan")], "nan"),
        ([1.0, float("nan")], "1, n 1, 1 not finite"),
        ([float("nan"), 2.0, None, 1.0, float("inf")], "1.5 (1 to 2), n 2, 2 not finite"),
        ([float("nan"), float("nan")], "2 not finite"),
    ],
)
def test_format_spread(values, text):
    assert format_spread(values, brief) == text


def test_transpose():
    transposed = transpose(compare_runs([record("a"), record("b", loss={"use": "minimax"})]))
    assert transposed.headings == ["run", "loss hinge", "loss minimax"]
    assert transposed.rows[0] == ["state", "finished at 100", "finished at 100"]


@pytest.mark.parametrize(
    ("state", "reason", "text"),
    [
        ("finished", None, "finished: 7 iterations"),
        ("stopped", "D has won", "stopped at iteration 7: D has won"),
        ("interrupted", None, "interrupted at iteration 7; `gankit resume r` continues it"),
        ("failed", "iteration 7: D's real is nan", "failed at iteration 7: D's real is nan"),
        (
            "rolled back",
            "it has collapsed",
            "rolled back at iteration 7: it has collapsed; `gankit resume r` continues it",
        ),
        ("cut short", None, "cut short after iteration 7, with no reason recorded; `gankit resume r` continues it"),
        ("running", None, "running, at iteration 7 or later"),
    ],
)
def test_format_ending(state, reason, text):
    assert format_ending(record("r", state=state, iteration=7, reason=reason)) == text


def test_warnings_that_differ_only_in_numbers_are_merged():
    given = [(10, "loss 0.01 is low"), (20, "swings"), (30, "loss 2e-05 is low"), (40, "loss 0 is low")]
    merged = merge_warnings(record("r", warnings=given))
    assert merged == [RepeatedWarning("loss 0 is low", [10, 30, 40]), RepeatedWarning("swings", [20])]
    assert [format_warning(warning) for warning in merged] == [
        "iterations 10 to 40, 3 times: loss 0 is low",
        "iteration 20: swings",
    ]
