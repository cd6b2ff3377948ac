"""`gankit run RECIPE init.generator=FILE`: first samples, messages, kill and resume, in real processes."""

import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from gankit.sampling.generator_file import read_generator_file

STILL = ["optimizer.generator.lr=1e-30", "optimizer.discriminator.lr=1e-30"]
"""Settings for a training that changes no weight."""


@pytest.fixture
def run(start_process, toy):
    """Return a function that runs the program as a process and returns its exit code, output and errors."""

    def call(*arguments):
        process = start_process(*map(str, arguments), cwd=toy)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return call


def pixels(path):
    return np.asarray(Image.open(path))


def test_the_first_samples_are_those_of_the_source(run, toy, toy_run):
    source = toy_run("source")
    code, out, err = run("run", "toy.toml", "--out", "new", f"init.generator={source}", *STILL, "train.iterations=1")
    assert (code, err) == (0, "")
    file = source / "checkpoints" / "000012" / "generator.safetensors"
    assert out.startswith(f"init.generator: 4 of 4 tensors, 100% of the weights, from {file}, iteration 12\n")
    assert (pixels(toy / "new/samples/000001.png") == pixels(source / "samples/000012.png")).all()
    run("sample", "new", "--out", "new.png", "--trust")
    run("sample", "source", "--out", "old.png", "--trust")
    assert (pixels(toy / "new.png") == pixels(toy / "old.png")).all()


def test_paths_are_relative_to_the_recipe(run, toy, toy_run):
    source = toy_run("source")
    (toy / "sub").mkdir()
    text = 'extends = "../toy.toml"\n[init]\ngenerator = "../source/generator.safetensors"\n'
    (toy / "sub" / "tuned.toml").write_text(text)
    code, out, _ = run("validate", "sub/tuned.toml")
    assert code == 0
    assert (
        f"  init.generator: 4 of 4 tensors, 100% of the weights, from {source}/generator.safetensors, iteration 12\n"
        in out
    )


def test_a_killed_run_continues_without_its_source(run, toy, toy_run):
    source = toy_run("source")
    settings = ["init.generator=source/generator.safetensors", "init.discriminator=source", "output.checkpoint_every=2"]
    # The signal is part of the recipe, so both runs have the plugin. It acts only if there is no file `sent`.
    settings += ["tricks.signals.use=./toy.py:Signals", f"tricks.signals.number={int(signal.SIGKILL)}"]
    (toy / "sent").touch()
    assert run("run", "toy.toml", "--out", "whole", *settings)[0] == 0
    (toy / "sent").unlink()
    assert run("run", "toy.toml", "--out", "cut", *settings)[0] == -signal.SIGKILL
    assert sorted(p.name for p in (toy / "cut" / "checkpoints").iterdir()) == ["000002", "000004"]
    shutil.rmtree(source)
    code, out, err = run("resume", "cut")
    assert (code, err) == (0, "")
    assert "init." not in out
    for name in ("generator.safetensors", "init.json", "checkpoints/000012/discriminator.safetensors"):
        assert (toy / "cut" / name).read_bytes() == (toy / "whole" / name).read_bytes(), name
    card, _ = read_generator_file(toy / "cut" / "generator.safetensors")
    assert card["origins"] == json.loads((toy / "cut" / "environment.json").read_text())["origins"]
    assert card["origins"]["discriminator"]["iteration"] == 12


def test_a_mistake_is_one_sentence_and_leaves_no_run(run, toy):
    code, out, err = run("run", "toy.toml", "--out", "new", "init.generator=none.safetensors")
    assert (code, out) == (2, "")
    assert err == f"error: toy.toml: init.generator: there is no file or folder {toy}/none.safetensors\n"
    assert not (toy / "new").exists()
