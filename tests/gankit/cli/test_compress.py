"""`gankit compress` and `gankit benchmark`."""

import os
import re
import signal
import subprocess
import time

import pytest

FAST = ("--trust", "--device", "cpu")


@pytest.fixture
def run(toy_run):
    return toy_run("run", "latent=./toy.py:Normal")


def test_as_a_process_and_the_file_works_in_other_commands(gankit, run, start_process):
    process = start_process(
        "compress", "run", "generator.width=3", "--iterations", "5", "--out", "new/x.safetensors", *FAST
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "trained for 5 steps, loss of samples and features of the discriminator"
    assert re.fullmatch(r"mean absolute difference of the samples: 0\.\d{4} at first, now 0\.\d{4}", lines[1])
    assert lines[2].split() == ["before", "after"]
    assert re.fullmatch(r"parameters +490 +277", lines[4])
    assert re.fullmatch(r"multiply-adds for an image +420 +210", lines[5])
    assert [line.split("  ")[0].rstrip() for line in lines[6:10]] == [
        lines[6].split("  ")[0].rstrip(),
        "images/s, batch 1",
        lines[8].split("  ")[0].rstrip(),
        "images/s, batch 16",
    ]
    assert lines[6].startswith("latency, batch 1, ")
    assert lines[-1] == "written: new/x.safetensors"
    for arguments in (
        ("sample", "new/x.safetensors", "--out", "x.png", *FAST),
        ("export", "new/x.safetensors", "--torchscript", "x.pt", "--trust"),
        ("eval", "new/x.safetensors", "--trust", "--extractor", "pixels", "--count", "8"),
    ):
        assert gankit(*arguments).code == 0, arguments


def test_pruning_and_8_bits(gankit, run):
    answer = gankit("compress", "run", "--prune", "0.5", "--int8", "--iterations", "3", "--out", "x.safetensors", *FAST)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("3 of 6 groups of channels are removed\ntrained for 3 steps, loss of samples and fea")
    answer = gankit("compress", "x.safetensors", "--int8", "--out", "y.safetensors", *FAST)
    assert (answer.code, answer.out.count("trained")) == (0, 0)
    assert re.match(r"mean absolute difference of the samples: 0\.0\d{3}\n", answer.out)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "run/generator.safetensors: choose how to compress it"),
        (["--prune", "1.5"], 2, "--prune 1.5: give a share of the multiply-adds above 0 and below 1"),
        (["--prune", "0.5", "generator.width=3"], 2, "--prune: cannot be combined with generator.width=3"),
        (["generator.widht=3"], 2, "generator.widht"),
        (["generator.width=3", "--out", "x.onnx"], 2, "--out x.onnx: choose the name of a file"),
        (
            ["--int8", "--out", "run/generator.safetensors"],
            2,
            "--out run/generator.safetensors: is the generator itself",
        ),
        (["--int8", "--out", "toy.py/x.safetensors"], 1, "toy.py/x.safetensors could not be written"),
        (["--int8", "--input", "toy.py"], 2, "--input toy.py: the generator takes no source images"),
    ],
)
def test_errors(gankit, run, arguments, code, expected):
    before = (run / "generator.safetensors").read_bytes()
    out = [] if "--out" in arguments else ["--out", "x.safetensors"]
    answer = gankit("compress", "run", *arguments, *out, *FAST)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.count("\n") == 1
    assert expected in answer.err
    assert not (run.parent / "x.safetensors").exists()
    assert (run / "generator.safetensors").read_bytes() == before


def test_a_killed_compression_keeps_the_old_file(run, start_process):
    old = run.parent / "x.safetensors"
    old.write_bytes(b"old")
    for number in (signal.SIGKILL, signal.SIGINT):
        arguments = ("generator.width=3", "--iterations", "1000000", "--out", "x.safetensors")
        process = start_process("compress", "run", *arguments, *FAST)
        while not any(name.startswith("libtorch") for name in open_libraries(process.pid)):
            time.sleep(0.05)
        time.sleep(1)
        for _ in range(6):
            os.kill(process.pid, number)
            try:
                process.wait(timeout=10)
                break
            except subprocess.TimeoutExpired:  # a signal during the import of a library can be lost
                continue
        assert old.read_bytes() == b"old"
        assert not list(run.parent.glob(".tmp-*"))
    assert process.returncode == 130


def open_libraries(pid):
    """Return the names of the files that a process has mapped into its memory."""
    with open(f"/proc/{pid}/maps") as file:
        return {os.path.basename(line.split()[-1]) for line in file}


def test_benchmark_as_a_process(run, start_process):
    arguments = ("run", "--batch", "1", "--batch", "3", "--seconds", "0.01", "--device", "cpu", "--trust")
    # Without a search path, there is no C++ compiler.
    process = start_process("benchmark", *arguments, environment={"PATH": "", "OMP_NUM_THREADS": "1"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    first, second, *lines = out.splitlines()
    assert first.endswith("490 parameters, 420 multiply-adds for an image")
    assert re.search(r"^cpu: .*, 1 thread, torch 2\.", second)
    assert lines[0].split() == ["backend", "batch", "median", "p95", "images/s"]
    eager = [line.split() for line in lines if line.startswith("eager")]
    assert [row[1] for row in eager] == ["1", "3"]
    assert "compiled: left out, torch.compile needs a C++ compiler, and none is installed; install g++" in lines


def test_benchmark_errors(gankit, run):
    assert "add --trust" in gankit("benchmark", "run").err
    answer = gankit("benchmark", "none.safetensors")
    assert (answer.code, answer.err) == (2, "error: there is no generator file none.safetensors\n")


def test_wrong_data_end_the_command_before_the_training(gankit, run, tmp_path):
    answer = gankit("compress", "run", "--int8", "--against", "nowhere", "--out", "x.safetensors", *FAST)
    assert (answer.code, "--against nowhere: no such folder" in answer.err) == (2, True)
    assert not (tmp_path / "x.safetensors").exists()
