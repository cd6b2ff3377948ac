"""`gankit merge` as a command."""

from gankit.evaluation import merging


def test_average_with_its_line(gankit, toy_run, monkeypatch):
    monkeypatch.setattr(merging, "evaluate", lambda file, *arguments: {"metrics": {"brightness": 2.5}})
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
