"""Runs side by side: who shares a row, and what may stand in one column."""

from pathlib import Path

import pytest

from gankit.formatting import brief
from gankit.report.comparison import (
    Advice,
    format_warning,
    compared,
    format_ending,
    grouped,
    said,
    spread_in_words,
    transposed,
)
from gankit.report.run_record import Ending, Measure, RunRecord, as_protocol


def record(name, seed=0, metrics=None, state="finished", iteration=100, reason=None, advice=(), code=(), **recipe):
    """`code`: a version and a digest for each process."""
    tables = {"name": "toy", "seed": seed, "train": {"iterations": 100}, "loss": {"use": "hinge"}} | recipe
    ended = {"ended": {"seconds": 10.0, "peak_memory": {"process": 5_000_000}}}
    environment = {"torch": "2", "device_name": "cpu", "threads": 2, "parameters": {"generator": 1000}}
    return RunRecord(
        Path(name),
        tables,
        [environment | {"plugins": plugins_of(*of)} for of in code[:-1]]
        + [environment | ended | ({"plugins": plugins_of(*code[-1])} if code else {})],
        [],
        metrics or {},
        list(advice),
        {},
        Ending(state, iteration, reason),
    )


def plugins_of(version, digest):
    """A loss of a version and a digest, beside a measure that is never the same."""
    loss = {"use": "hinge", "distribution": "kit", "version": version, "origin": "kit:Hinge", "sha256": digest * 64}
    return {"loss": loss, "metrics.fid": loss | {"use": "fid", "sha256": f"{digest}{version}"}}


def measure(name="fid", **protocol):
    return Measure(name, as_protocol(protocol))


FID = measure(count=2000)


def column(comparison, head):
    return [row[comparison.heads.index(head)] for row in comparison.rows]


def test_runs_that_differ_by_their_seed_alone_share_a_row():
    values = {0: 3.0, 1: 5.0, 2: 10.0}
    runs = [record(f"r{seed}", seed, {FID: [(50, 99.0), (100, value)]}) for seed, value in values.items()]
    other = record("other", 0, {FID: [(100, 4.0)]}, loss={"use": "minimax"})
    comparison = compared([runs[0], other, runs[1], runs[2]])
    assert column(comparison, "run") == ["loss hinge (seeds 0, 1, 2)", "loss minimax"]
    assert column(comparison, "fid") == ["6 (3 to 10), n 3", "4"]
    assert column(comparison, "parameters of G") == ["1,000", "1,000"]
    assert column(comparison, "time") == ["10 s, n 3", "10 s"]
    assert column(comparison, "memory of the process") == ["5 MB, n 3", "5 MB"]
    assert "Of several seeds: the mean, in brackets the lowest and the highest, and n" in comparison.notes[0]
    assert "memory on the GPU" not in comparison.heads


def test_a_second_run_of_a_seed_is_no_further_seed():
    groups = grouped([record("a", 0), record("b", 1), record("c", 1)])
    assert [[run.path.name for run in group.runs] for group in groups] == [["a", "b"], ["c"]]
    assert [group.label for group in groups] == ["toy (seeds 0, 1)", "c"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["1", "b"], "kit 1, source bbbbbbbb"),
        (["2", "a"], "kit 2, source aaaaaaaa"),
        ([["1", "a"], ["2", "a"]], "kit 1, source aaaaaaaa, then kit 2, source aaaaaaaa"),
    ],
    ids=["source", "version", "resumed"],
)
def test_runs_of_different_code_are_no_repetitions(changed, words):
    first, again = [("1", "a")], [tuple(of) for of in changed] if isinstance(changed[0], list) else [tuple(changed)]
    runs = [record("r0", 0, code=first), record("r1", 1, code=first * 2)]
    runs += [record("r2", 0, code=again), record("r3", 1, code=again)]
    comparison = compared([runs[0], runs[2], runs[1], runs[3]])
    assert column(comparison, "run") == [
        "toy, loss of kit 1, source aaaaaaaa (seeds 0, 1)",
        f"toy, loss of {words} (seeds 0, 1)",
    ]
    assert (
        comparison.notes[-1] == "Not of the same code in all runs: loss. Runs whose plugins differ are no repetitions."
    )


def test_how_a_plugin_that_measures_is_written_says_nothing_of_what_is_learnt():
    runs = [record("r0", 0, code=[("1", "a")]), record("r1", 1, code=[("1", "a")])]
    runs[1].processes[0]["plugins"]["metrics.fid"]["sha256"] = "else"
    assert column(compared(runs), "run") == ["toy (seeds 0, 1)"]


def test_groups_of_one_recipe_are_told_apart_by_their_folders():
    groups = grouped([record(f"{folder}/{seed}", seed) for folder in ("old", "new") for seed in (0, 1)])
    assert [group.label for group in groups] == ["toy, in old (seeds 0, 1)", "toy, in new (seeds 0, 1)"]
    groups = grouped([record(f"runs{folder}/{seed}", seed) for folder in ("", "/new") for seed in (0, 1)])
    assert [group.label for group in groups] == ["toy, in runs (seeds 0, 1)", "toy, in new (seeds 0, 1)"]


def test_groups_of_one_recipe_in_one_folder_are_told_apart_by_their_paths():
    groups = grouped([record(name, seed) for name, seed in (("a", 0), ("b", 1), ("c", 1), ("d", 0))])
    assert [group.label for group in groups] == ["toy, a and b (seeds 0, 1)", "toy, c and d (seeds 0, 1)"]


def test_a_measure_may_have_the_name_of_a_column():
    metrics = {measure(name): [(100, value)] for name, value in (("time", 0.25), ("state", 0.5))}
    comparison = compared([record("a", 0, metrics), record("b", 1, loss={"use": "minimax"})])
    assert [head for head in comparison.heads if head in ("time", "state")] == ["state", "time", "state", "time"]
    row = dict(zip(enumerate(comparison.heads), comparison.rows[0], strict=True))
    assert [cell for (_, head), cell in row.items() if head in ("time", "state")] == [
        "finished at 100",
        "0.25",
        "0.5",
        "10 s",
    ]


def test_single_runs_are_told_apart_by_their_seeds():
    groups = grouped([record("a", 0), record("b", 1, loss={"use": "minimax"})])
    assert [group.label for group in groups] == ["seed 0, loss hinge", "seed 1, loss minimax"]


def test_numbers_of_different_protocols_never_share_a_column():
    few, many = measure(count=2000, net="a"), measure(count=10000, net="a")
    runs = [record("a", 0, {few: [(100, 12.0)]}), record("b", 1, {few: [(100, 14.0)], many: [(100, 8.0)]})]
    comparison = compared(runs)
    assert column(comparison, "fid (count 2000)") == ["13 (12 to 14), n 2"]
    assert column(comparison, "fid (count 10000)") == ["8, n 1"]
    assert "fid" not in comparison.heads
    (note,) = [note for note in comparison.notes if note.startswith("fid")]
    assert note == (
        "fid was measured in 2 ways and stands in as many columns: numbers of different columns cannot be compared."
    )


def test_one_protocol_has_the_name_alone():
    comparison = compared([record("a", 0, {FID: [(100, 1.0)]}), record("b", 1, {FID: [(100, 2.0)]})])
    assert "fid" in comparison.heads
    assert not any(note.startswith("fid") for note in comparison.notes)


def test_a_protocol_with_a_key_more_is_another():
    heads = compared([record("a", 0, {measure(count=1): [(1, 1.0)]}), record("b", 1, {measure(): [(1, 1.0)]})]).heads
    assert {"fid (count 1)", "fid (otherwise)"} < set(heads)


def test_numbers_of_different_iterations_are_not_averaged():
    runs = [record("a", 0, {FID: [(100, 4.0)]}), record("b", 1, {FID: [(30, 90.0)]}, "stopped", 30, "collapsed")]
    comparison = compared(runs)
    assert column(comparison, "fid") == ["4, n 1 at 100\n90, n 1 at 30"]
    assert column(comparison, "state") == ["1 finished at 100, 1 stopped at 30"]
    assert any("of different iterations" in note for note in comparison.notes)


def test_a_seed_without_a_measure_that_others_have_is_named():
    both = {FID: [(100, 3.0)], measure("kid"): [(100, 1.0)]}
    runs = [record("a", 0, both), record("b", 1, {}, state="cut short"), record("c", 2, both)]
    alone = record("alone", 0, loss={"use": "minimax"})
    notes = [note for note in compared([*runs, alone]).notes if "has no" in note]
    assert notes == ["loss hinge (seeds 0, 1, 2): seed 1 has no fid, kid, which other seeds have (b)."]
    assert not any("has no" in note for note in compared([runs[0], runs[2], alone]).notes)


def test_time_on_different_machines_is_said_to_be():
    slow = record("b", 1)
    slow.processes[0]["threads"] = 1
    (note,) = [note for note in compared([record("a"), slow]).notes if "machines" in note]
    assert "cpu, 2 threads, torch 2; cpu, 1 thread, torch 2" in note


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "-"),
        ([None], "-"),
        ([1.5], "1.5"),
        ([1.0, 2.0], "1.5 (1 to 2), n 2"),
        ([1.0, None, 2.0], "1.5 (1 to 2), n 2"),
        ([8.0, 8.0], "8, n 2"),
        ([8.0, None], "8, n 1"),
        ([float("nan")], "nan"),
        ([1.0, float("nan")], "1, n 1, 1 not finite"),
        ([float("nan"), 1.0], "1, n 1, 1 not finite"),
        ([float("nan"), 2.0, None, 1.0, float("inf")], "1.5 (1 to 2), n 2, 2 not finite"),
        ([float("nan"), float("nan")], "2 not finite"),
    ],
)
def test_spreads(values, words):
    assert spread_in_words(values, brief) == words


def test_the_table_stands_on_its_side_where_it_is_too_wide():
    comparison = compared([record("a"), record("b", loss={"use": "minimax"})])
    turned = transposed(comparison)
    assert turned.heads == ["run", "loss hinge", "loss minimax"]
    assert turned.rows[0] == ["state", "finished at 100", "finished at 100"]


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("finished", None, "finished: 7 iterations"),
        ("stopped", "D has won", "stopped at iteration 7: D has won"),
        ("interrupted", None, "interrupted at iteration 7; `gankit resume r` goes on"),
        ("failed", "iteration 7: D's real is nan", "broken down at iteration 7: D's real is nan"),
        ("cut short", None, "cut short after iteration 7, without a word why; `gankit resume r` goes on"),
        ("running", None, "still running, at iteration 7 or later"),
    ],
)
def test_endings(state, reason, words):
    assert format_ending(record("r", state=state, iteration=7, reason=reason)) == words


def test_advice_that_differs_in_numbers_alone_is_one():
    spoken = [(10, "loss 0.01 is low"), (20, "swings"), (30, "loss 2e-05 is low"), (40, "loss 0 is low")]
    advice = said(record("r", advice=spoken))
    assert advice == [Advice("loss 0 is low", [10, 30, 40]), Advice("swings", [20])]
    assert [format_warning(one) for one in advice] == [
        "iterations 10 to 40, 3 times: loss 0 is low",
        "iteration 20: swings",
    ]
