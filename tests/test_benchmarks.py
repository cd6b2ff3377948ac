"""The benchmarks work, and their arithmetic is right; what they measure is not looked at here."""

import importlib
import json
import time

import performance
import pytest
import torch
from timing import Ratio, Rounds, bytes_of_tensors, interleaved, peak_of_tensors

QUICK = ["loop", "defaults", "classes"]


@pytest.mark.parametrize("name", QUICK)
def test_a_benchmark_works(name):
    """Its section is written from what JSON keeps."""
    module = importlib.import_module(name)
    found = json.loads(json.dumps(module.measure(quick=True)))
    text = module.section(found)
    assert text.startswith("## ")
    assert text.endswith("\n")
    assert "nan" not in text


def test_the_page_holds_what_was_measured(tmp_path, monkeypatch):
    found = {"machine": "a machine", "batch": 60, "target": 1.3, "precisions": {}}
    (tmp_path / "classes.json").write_text(json.dumps(found))
    text = performance.page(tmp_path)
    assert text.count("\n## ") == 2
    assert "What a class costs" in text
    assert "python benchmarks/gpu.py" in text


def test_ratios_are_of_the_same_round():
    rounds = Rounds({"a": [2.0, 20.0, 200.0], "b": [1.0, 10.0, 100.0]}, {"a": [1.0] * 3, "b": [4.0] * 3}, 1)
    assert rounds.ratio("a", "b") == (2.0, 2.0, 2.0)
    assert rounds.ratio("a", "b", "cpu").median == 0.25
    both = rounds.together({"both": ["a", "b"], "b": ["b"]})
    assert both.wall == {"both": [3.0, 30.0, 300.0], "b": [1.0, 10.0, 100.0]}


@pytest.mark.parametrize(("control", "busy", "counts"), [(1.0, 1.0, True), (1.02, 1.0, False), (1.0, 0.5, False)])
def test_what_does_not_count_says_so(control, busy, counts):
    threads = torch.get_num_threads()
    rounds = Rounds({"a": [1.0]}, {"a": [busy * threads]}, 1)
    assert (rounds.trouble(Ratio(control, control, control)) is None) == counts


def test_all_take_turns():
    calls = []
    loops = {name: lambda name=name: (calls.append(name), time.sleep(0.001)) for name in "abc"}
    interleaved(loops, rounds=8, warm_up=0)
    rounds = ["".join(calls[begin : begin + 3]) for begin in range(0, 24, 3)]
    assert len(calls) == 24
    assert all(sorted(turns) == ["a", "b", "c"] for turns in rounds)
    assert len(set(rounds)) > 2


def test_the_peak_of_tensors_is_what_is_held_at_once():
    def loop():
        torch.ones(1000)
        kept = torch.ones(2000)
        return torch.cat([kept])

    assert peak_of_tensors(loop) == 4 * 4000
    assert bytes_of_tensors(loop) == 4 * 5000


def test_what_a_loop_needs_before_its_turn_is_done_and_not_timed():
    calls = []
    loops = {name: lambda name=name: calls.append(name) for name in "ab"}
    before = {"a": lambda: (calls.append("before a"), time.sleep(0.05))}
    rounds = interleaved(loops, rounds=4, warm_up=1, before=before)
    turns = " ".join(calls)
    assert turns.count("before a a") == calls.count("a") == calls.count("before a") == 5
    assert max(rounds.wall["a"]) < 0.05
