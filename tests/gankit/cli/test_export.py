"""`gankit export`."""

import hashlib
import json

import pytest
import torch

from gankit.sampling.export import NOTE


@pytest.fixture
def run(toy_run):
    return toy_run("run", "latent=./toy.py:Normal")


def test_as_a_process_from_a_run_and_its_file(run, start_process):
    process = start_process("export", "run", "--torchscript", "deep/g.pt", "--trust")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    first, *lines = out.splitlines()
    assert first == "torchscript: deep/g.pt, largest difference from the network 0.0e+00"
    assert lines[0].startswith("  z: float32 (batch, ")
    assert lines[1] == "  labels: int64 (batch,), 2 classes: a, b"
    assert lines[2:] == [
        "  images: float32 (batch, 1, 8, 8), values in [-1, 1]",
        "  recipe toy, iteration 12",
    ]
    extra = {NOTE: ""}
    function = torch.jit.load("deep/g.pt", _extra_files=extra)
    note = json.loads(extra[NOTE])
    assert note["generator_sha256"] == hashlib.sha256((run / "generator.safetensors").read_bytes()).hexdigest()
    assert note["settings"] == []
    size = int(lines[0].split(", ")[1].rstrip(")"))
    assert function(torch.zeros(7, size), torch.arange(7) % 2).shape == (7, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "run: choose a format with --onnx, --torchscript or --torch-export"),
        (
            ["--torchscript", "x.onnx"],
            2,
            "--torchscript x.onnx: unknown file type; the name of the file must end in .pt",
        ),
        (["--torch-export", "folder.pt2"], 2, "--torch-export folder.pt2: a folder of that name exists"),
        (["--torchscript", "x.pt", "generator.sizes=3"], 2, "generator.sizes"),
        (["--torchscript", "x.pt", "data.classes=3"], 2, "data.classes: is not a setting of a plugin that acts"),
        (["--torchscript", "toy.py/x.pt"], 1, "toy.py/x.pt could not be written"),
    ],
)
def test_errors(gankit, run, toy, arguments, code, expected):
    (toy / "folder.pt2").mkdir()
    answer = gankit("export", "run", "--trust", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert expected in answer.err
    assert not (toy / "x.pt").exists()


def test_other_files_and_untrusted_plugins_are_refused(gankit, run):
    assert "add --trust" in gankit("export", "run", "--torchscript", "x.pt").err
    assert "there is no generator file none" in gankit("export", "none", "--torchscript", "x.pt").err
    assert not (run.parent / "x.pt").exists()


def test_a_failed_export_keeps_the_old_file(gankit, run, monkeypatch):
    monkeypatch.setattr("gankit.sampling.export.TOLERANCE", -1.0)
    (run.parent / "x.pt").write_bytes(b"old")
    answer = gankit("export", "run", "--torchscript", "x.pt", "--trust")
    assert (answer.code, answer.out) == (1, "")
    assert "--torchscript: the images of the exported file differ from those of the network" in answer.err
    assert (run.parent / "x.pt").read_bytes() == b"old"
    assert not list(run.parent.glob(".tmp-*"))
