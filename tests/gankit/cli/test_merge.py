"""`gankit merge` as a command."""

from pathlib import Path

from gankit.evaluation import merging
from gankit.sampling.generator_file import read_generator_file
from gankit.storage.atomic_io import tensors_to_bytes


def test_average_with_its_line(gankit, toy_run, monkeypatch):
    monkeypatch.setattr(merging, "metric_of", lambda file, *arguments: 2.5)
    one, two = toy_run("one"), toy_run("two", "seed=1")
    answer = gankit("merge", one, two, "--out", "both.safetensors", "--line", "brightness", "--count", "8", "--trust")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("part of B"))
    assert [line.split() for line in lines[start + 1 : start + 6]] == [
        [t, "2.5"] for t in ["0", "0.25", "0.5", "0.75", "1"]
    ]
    assert lines[-2:] == ["average with the weights 0.5, 0.5", "written: both.safetensors"]
    assert gankit("sample", "both.safetensors", "--out", "x.png", "--trust").code == 0


def test_ensemble_with_weights(gankit, toy_run):
    one, two = toy_run("one"), toy_run("two", "seed=1")
    answer = gankit("merge", one, two, "--out", "both.safetensors", "--ensemble", "--weights", "3,1", "--trust")
    assert answer.code == 0, answer.err
    assert "ensemble with the weights 0.75, 0.25" in answer.out
    refused = gankit("sample", "both.safetensors", "--out", "x.png")
    assert (refused.code, "if you trust it, add --trust" in refused.err) == (2, True)
    assert gankit("sample", "both.safetensors", "--out", "x.png", "--trust").code == 0


def test_facts_of_one_generator_are_not_those_of_the_result(gankit, toy_run):
    """The epsilon of a private generator does not hold for its average with another one."""
    run = Path(toy_run("one"))
    card, tensors = read_generator_file(run / "generator.safetensors")
    Path("private.safetensors").write_bytes(tensors_to_bytes(tensors, card | {"facts": {"epsilon": 1.0}}))
    for options in ((), ("--ensemble",)):
        answer = gankit("merge", "private.safetensors", run, "--out", "both.safetensors", "--trust", *options)
        assert answer.code == 0, answer.err
        assert "facts" not in read_generator_file(Path("both.safetensors"))[0]


def test_chosen_weights_are_written_only_at_the_end(gankit, toy_run, toy, monkeypatch):
    def scores(file, *arguments):
        assert (toy / "both.safetensors").read_bytes() == b"old"
        weights = [one["weight"] for one in read_generator_file(file)[0]["merged"]]
        return abs(weights[0] - 0.75)

    monkeypatch.setattr(merging, "metric_of", scores)
    monkeypatch.setattr(merging, "is_higher_better", lambda metric: False)
    (toy / "both.safetensors").write_bytes(b"old")
    one, two = toy_run("one"), toy_run("two", "seed=1")
    options = ("--ensemble", "--choose", "error", "--trust")
    answer = gankit("merge", one, two, "--out", "both.safetensors", *options)
    assert answer.code == 0, answer.err
    assert "error: 0\nensemble with the weights 0.75, 0.25\n" in answer.out
    refused = gankit("merge", one, two, "--out", "both.pt", *options)
    assert (refused.code, "--out both.pt: choose the name" in refused.err) == (2, True)


def test_options_that_do_not_belong_together(gankit, toy_run):
    run = toy_run("one")
    for options, sentence in (
        (("--line", "brightness", "--ensemble"), "--line: shows the averages of two generators"),
        (("--choose", "brightness"), "--choose: chooses the weights of an ensemble"),
        (("--weights", "a,b"), "--weights a,b: give numbers, such as 0.7,0.3"),
    ):
        answer = gankit("merge", run, run, "--out", "x.safetensors", *options)
        assert (answer.code, sentence in answer.err) == (2, True), answer.err


def test_a_failed_metric_leaves_no_file(gankit, toy_run, tmp_path):
    run = toy_run("one")
    for options, sentence in (
        (("--line", "nothing", "--extractor", "pixels"), "no metric called 'nothing'"),
        (("--line", "frechet_distance", "--extractor", "nothing"), f"{run}, {run}: extractor"),
        (("--weights", "nan,1"), "--weights nan,1: give 2 numbers"),
    ):
        answer = gankit("merge", run, run, "--out", "x.safetensors", "--trust", *options)
        assert (answer.code, sentence in answer.err, "merged.safetensors" in answer.err) == (2, True, False), answer.err
        assert not (tmp_path / "x.safetensors").exists()
