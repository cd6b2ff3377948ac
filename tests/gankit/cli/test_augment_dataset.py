"""`gankit augment-dataset`."""

import pytest


@pytest.fixture
def run(toy_run):
    return toy_run("run", "train.iterations=2")


@pytest.fixture
def augment(gankit, run):
    return lambda *more, of="run": gankit("augment-dataset", of, "--out", "more", "--trust", "--device", "cpu", *more)


def test_the_command_as_a_process(start_process, run, toy):
    arguments = ("augment-dataset", "run", "--out", "new/more", "--per-class", "3", "--trust", "--device", "cpu")
    process = start_process(*arguments, "--filter", "discriminator", "--keep", "0.25")
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "6 samples of 2 classes, from 24 generated: new/more\n", "")
    assert sorted(path.name for path in (toy / "new").iterdir()) == ["more"]
    assert sorted(path.name for path in (toy / "new" / "more").iterdir()) == ["a", "b", "provenance.json"]
    assert [len(list((toy / "new" / "more" / name).iterdir())) for name in "ab"] == [3, 3]


def test_a_folder_that_exists_is_refused(augment, toy):
    assert augment("--per-class", 2).out == "4 samples of 2 classes: more\n"
    before = {path: path.read_bytes() for path in (toy / "more").rglob("*.*")}
    again = augment("--per-class", 2, "--seed", 1)
    assert (again.code, again.out, again.err) == (2, "", "error: more: exists already; choose a new folder\n")
    assert {path: path.read_bytes() for path in (toy / "more").rglob("*.*")} == before


def test_an_unconditional_generator_is_refused_in_one_sentence(augment, toy_run, toy):
    toy_run("plain", "train.iterations=2", "data.classes=0")
    answer = augment(of="plain")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "error: plain: the generator is unconditional, so its samples have no classes; train a generator with a class "
        "as its condition\n"
    )
    assert not (toy / "more").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--keep", 0.2], "--keep: is for --filter discriminator"),
        (["--filter", "classifier", "--keep", 0.2], "--keep: is for --filter discriminator"),
        (["--confidence", 0.9], "--confidence: is for --filter classifier"),
        (["--filter", "discriminator", "--against", "photos"], "--against: is for --filter classifier"),
        (["extractor.steps=3"], "KEY=VALUE: is for --filter classifier"),
        (["--out", "rows.csv"], "--out rows.csv: is the name of a file"),
        (["--filter", "classifier", "--against", "nowhere"], "--against nowhere: no such folder"),
        (["--filter", "classifier", "extractor.use=classifier", "train.seed=1"], "train: settings of the classifier"),
    ],
)
def test_options_that_do_not_apply_are_refused(augment, toy, more, message):
    answer = augment(*more)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not (toy / "more").exists()
