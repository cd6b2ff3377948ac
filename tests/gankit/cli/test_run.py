"""`gankit run` and `gankit resume`: output, files and endings."""

import json
import re
import shlex
import signal
import sys

import pytest

from gankit import Plugin, hookimpl
from gankit.cli.progress import STOPPING, samples_path
from gankit.runtime.signals import SIGNALS as SIGNALS_THAT_END
from gankit.runtime.signals import Interrupt
from tests.gankit.cli.conftest import Terminal

SIGNALS = "tricks.signals.use=./toy.py:Signals"


def iterations(folder):
    return [json.loads(line)["iteration"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_prints_its_files_and_the_next_commands(gankit, toy):
    answer = gankit("run", "toy.toml", "--out", "my run", "--device", "cpu")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[:3] == [
        "toy: 1x8x8, 2 classes: a, b",
        "generator 490 parameters, discriminator 331 parameters, on cpu",
        "into my run",
    ]
    assert [line.split()[0] for line in lines[3:6]] == ["4/12", "8/12", "12/12"]
    number = r"\d\.\d{3}"
    assert re.fullmatch(
        rf"4/12  generator: lr 0.05 fool {number}  discriminator: lr 0.05 real {number} fake {number}  "
        r"\d+ images/s  \d+ s left",
        lines[3],
    )
    assert lines[6].startswith("done: 12 iterations in ")
    assert lines[7:] == [
        "  images     my run/samples/000012.png",
        "  generator  my run/generator.safetensors",
        "next:",
        "  gankit show 'my run'",
        "  gankit sample 'my run' --out samples.png --trust",
        "  gankit resume 'my run' train.iterations=24",
    ]
    assert answer.out.isascii()
    assert "\x1b" not in answer.out
    for name in ("recipe.toml", "environment.json", "samples/000005.png", "samples/000012.png", "checkpoints/000012"):
        assert (toy / "my run" / name).exists()

    # The printed commands work.
    show, sample, resume = (shlex.split(line)[1:] for line in lines[-3:])
    assert gankit(*show).code == 0
    assert gankit(*sample).code == 0
    longer = gankit(*resume)
    assert longer.code == 0
    assert "resuming from my run/checkpoints/000012" in longer.out
    assert "into my run, from iteration 12" in longer.out
    assert iterations(toy / "my run")[-1] == 24
    assert "\ndone: 24 iterations; the last 12 took " in longer.out
    complete = gankit("resume", "my run")
    assert complete.code == 0
    assert "the run is complete: 24 iterations" in complete.out
    assert "\ndone: 24 iterations\n" in complete.out
    before = (toy / "my run" / "recipe.toml").read_bytes()
    fewer = gankit("resume", "my run", "train.iterations=5")
    assert (fewer.code, fewer.err) == (
        2,
        "error: train.iterations: 5 given, and 24 are done already; give more, or leave it out\n",
    )
    assert (toy / "my run" / "recipe.toml").read_bytes() == before


def test_default_directory_overrides_and_drop(gankit, toy):
    answer = gankit("run", "toy.toml", "train.iterations=3", "name=other", "--drop", "output.log_every")
    assert answer.code == 0
    (run,) = (toy / "runs" / "other").iterdir()
    assert iterations(run) == [3]
    assert f"  gankit resume {run.relative_to(toy)} train.iterations=6" in answer.out


SCRIPTED = [
    "extractor=./toy.py:Plain",
    "metrics.m={use='./toy.py:Scripted', values=['3','2','5','4','6','7']}",
    *("evaluation.every=1", "evaluation.count=8", "evaluation.budget=1", "train.iterations=6"),
    "output.keep_best=error",
]


def test_the_best_generator_is_named_and_can_be_used(gankit, toy):
    answer = gankit("run", "toy.toml", "--out", "run", *SCRIPTED)
    assert (answer.code, answer.err) == (0, "")
    assert "  best       run/best.safetensors (error 2 at iteration 2)" in answer.out.splitlines()
    assert gankit("sample", "run/best.safetensors", "--out", "best.png", "--trust").code == 0
    assert (toy / "best.png").exists()
    options = ["--metric", "frechet_distance", "--extractor", "pixels", "--trust"]
    best, same = (gankit("eval", f"run/{name}.safetensors", *options) for name in ("best", "best"))
    newest = gankit("eval", "run", *options)
    assert (best.code, best.err) == (0, "")
    distances = [one.out.splitlines()[0] for one in (best, same, newest)]
    assert distances[0].startswith("frechet_distance ")
    assert distances[0] == distances[1] != distances[2]


def test_a_run_ends_without_improvement(gankit, toy):
    answer = gankit("run", "toy.toml", "--out", "run", *SCRIPTED, "output.patience=2")
    assert answer.code == 0
    reason = "error has not improved for 2 evaluations; the best is error 2 at iteration 2"
    assert f"ended at iteration 4: {reason}\n" in answer.out
    rows = [json.loads(line) for line in (toy / "run" / "log.jsonl").read_text().splitlines()]
    assert {"iteration": 4, "stopped": reason} in rows
    assert reason in (toy / "run" / "report.html").read_text()


def test_a_kept_metric_that_is_missing_is_one_sentence(gankit, toy):
    answer = gankit("run", "toy.toml", "--out", "run", "output.keep_best=frechet_distance")
    assert answer.code == 2
    assert answer.err.startswith(
        "error: toy.toml: output.keep_best: 'frechet_distance' given; the recipe needs a metric"
    )
    assert answer.err.count("\n") == 1
    assert not (toy / "run").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_rollback_is_shown(gankit, toy, monkeypatch, terminal):
    if terminal:
        monkeypatch.setattr(sys, "stdout", Terminal())
        for name, value in {"TERM": "xterm", "COLUMNS": "200", "LINES": "20", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
    tricks = ["tricks.f={use='./toy.py:Fragile', iteration=7, limit=0.03}", "train.rollbacks=2"]
    answer = gankit("run", "toy.toml", "--out", "run", *tricks)
    assert answer.code == 0
    out = sys.stdout.getvalue() if terminal else answer.out
    assert "rollback 1 of 2: from iteration 8 back to the checkpoint of iteration 5" in " ".join(out.split())
    assert "done: 12 iterations" in out
    if terminal:
        assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 2, "the display begins and ends twice"
    else:
        assert [line.split()[0] for line in out.splitlines() if "/12" in line] == ["4/12", "8/12", "12/12"]
        assert "resuming from run/checkpoints/000005" in out
    losses = [row for row in map(json.loads, (toy / "run" / "log.jsonl").read_text().splitlines()) if "loss" in row]
    assert [row["iteration"] for row in losses] == [4, 8, 12]


def test_warnings_and_a_run_that_a_plugin_ends(gankit, toy):
    answer = gankit("run", "toy.toml", "--out", "run", "tricks.p.use='./toy.py:Picky'")
    assert answer.code == 0
    assert answer.out.startswith("warning: tricks.p: a picky [plugin] never helps\n")
    assert "ended at iteration 5: five [are] enough\n" in answer.out


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["toy.toml", "--device", "quantum"], 2, "train.device: 'quantum'"),
        (["toy.toml", "--out", "toy.py"], 2, "--out toy.py: a file of that name is in the way"),
        (
            ["toy.toml", "--out", "run", "tricks.n.use='./toy.py:NotANumber'"],
            1,
            "the discriminator's real is nan, and so is",
        ),
    ],
)
def test_errors_are_one_line_each(gankit, toy, arguments, code, expected):
    answer = gankit("run", *arguments)
    assert answer.code == code
    assert all(line.startswith("error: ") for line in answer.err.splitlines())
    assert expected in answer.err


def test_a_bug_keeps_its_traceback_and_has_a_report(start_process, toy):
    process = start_process("run", "toy.toml", "--out", "run", "tricks.b.use='./bug.py:Bug'")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback (most recent call last)" in err
    assert err.endswith("ZeroDivisionError: a bug in a plugin\nraised by Bug.on_start (tricks.b)\n")
    assert "failed at iteration 0: ZeroDivisionError: a bug in a plugin" in (toy / "run" / "report.html").read_text()


def test_a_recipe_that_a_plugin_rejects_at_the_start_leaves_no_run(gankit, toy):
    bug = (toy / "bug.py").read_text()
    (toy / "strict.py").write_text(bug.replace("ZeroDivisionError", "ValueError").replace("a bug", "no bug"))
    answer = gankit("run", "toy.toml", "--out", "run", "tricks.b.use='./strict.py:Bug'")
    assert answer.code == 2, answer
    assert "no bug in a plugin" in answer.err
    assert not (toy / "run").exists()


def test_ctrl_c_writes_a_checkpoint_and_prints_the_command_to_resume(gankit, toy):
    (toy / "sent").touch()
    assert gankit("run", "toy.toml", "--out", "whole", SIGNALS).code == 0
    (toy / "sent").unlink()
    answer = gankit("run", "toy.toml", "--out", "cut", SIGNALS)
    assert (answer.code, answer.err) == (130, f"{STOPPING}\n")
    assert answer.out.endswith("interrupted at iteration 5; a checkpoint is written\nnext:\n  gankit resume cut\n")
    assert (toy / "cut" / "checkpoints" / "000005").is_dir()
    assert gankit("resume", "cut", "--quiet").code == 0
    left, right = ((toy / run / "generator.safetensors").read_bytes() for run in ("cut", "whole"))
    assert left == right


@pytest.mark.parametrize(
    ("debounce", "number", "ending"),
    [
        # `timeout` sends SIGTERM twice, to the process and to its group.
        (1.0, signal.SIGTERM, "interrupted at iteration 5; a checkpoint is written\n"),
        (0.0, signal.SIGINT, "\nstopped at once, without a new checkpoint\n"),
    ],
)
def test_a_second_signal_counts_only_if_it_comes_later(gankit, toy, monkeypatch, debounce, number, ending):
    monkeypatch.setattr(Interrupt, "DEBOUNCE_SECONDS", debounce)
    settings = [f"tricks.signals.number={int(number)}", "tricks.signals.count=2"]
    answer = gankit("run", "toy.toml", "--out", "run", SIGNALS, *settings)
    assert (answer.code, answer.err) == (130, f"{STOPPING}\n")
    assert answer.out.endswith(f"{ending}next:\n  gankit resume run\n")


@pytest.mark.parametrize("number", SIGNALS_THAT_END)
def test_a_signal_before_the_run_begins(start_process, toy, number):
    (toy / "late.py").write_text(f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(60)")
    process = start_process("run", "toy.toml", "--out", "run", "data.use='./late.py:Late'")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, "", "interrupted")
    assert not (toy / "run").exists()


def test_nohup_ignores_a_closed_terminal(start_process, toy):
    settings = ["tricks.slow.use=./toy.py:Slow", f"tricks.signals.number={int(signal.SIGHUP)}", SIGNALS]
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    process = start_process("run", "toy.toml", "--out", "run", *settings, **ignore)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "done: 12 iterations" in out


@pytest.mark.parametrize("where", ["closed pipe", "full disk"])
def test_a_run_goes_on_without_output(start_process, toy, where):
    slow = "tricks.slow.use=./toy.py:Slow"
    if where == "closed pipe":
        process = start_process("run", "toy.toml", "--out", "run", slow)
        process.stdout.readline()
        process.stdout.close()
    else:
        with open("/dev/full", "w") as full:
            process = start_process("run", "toy.toml", "--out", "run", slow, stdout=full)
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    assert (toy / "run" / "checkpoints" / "000012").is_dir()


def test_on_a_terminal_there_is_a_live_display(gankit, toy, monkeypatch):
    terminal = Terminal()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, terminal)
    for name, value in {"TERM": "xterm", "COLUMNS": "70", "LINES": "20", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert gankit("run", "toy.toml", "--out", "run", "tricks.slow.use='./toy.py:Slow'").code == 0
    text = terminal.getvalue()
    stages = ["importing torch ...", "assembling the networks ...", "reading the images ..."]
    places = [text.index(f"\r\x1b[K{stage}") for stage in stages]
    assert places == sorted(places)
    assert "reading the images ...\r\r\x1b[Ktoy: 1x8x8" in text, "the status line is cleared"
    assert not any(stage in text[text.index("toy: ") :] for stage in stages)
    assert "\x1b[?25l" in text, "the cursor is hidden"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is visible again"
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text), "NO_COLOR"
    frames = [int(n) for n in re.findall(r"iteration (\d+)/12", text)]
    assert frames[-1] == 12
    assert frames == sorted(frames)
    assert len(set(frames)) >= 3, "the display is updated"
    assert "4/12  generator:" not in text
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert re.search(r"discriminator +lr 0\.05   real\s\d\.\d{3}   fake\s\d\.\d{3}", plain)
    assert "next:" in plain[plain.rindex("100%") :]


class Pictures(Plugin):
    name = "pictures"
    kind = "data"


class Files(Pictures):
    @hookimpl
    def save_samples(self, samples, names, folder):
        return []


class Rows(Files):
    sample_suffixes = (".csv", ".parquet")


@pytest.mark.parametrize(("data", "path"), [(Pictures, "samples.png"), (Files, "samples"), (Rows, "samples.csv")])
def test_suggested_path_of_samples(data, path):
    assert samples_path(data) == path
