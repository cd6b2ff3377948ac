"""`gankit run RECIPE init.generator=FILE`: first samples, messages, kill and resume."""

import json
import shutil
import signal

import numpy as np
from PIL import Image

from gankit.sampling.generator_file import read_generator_file

STILL = ["optimizer.generator.lr=1e-30", "optimizer.discriminator.lr=1e-30"]
"""Settings for a training that changes no weight."""


def pixels(path):
    return np.asarray(Image.open(path))


def test_the_first_samples_are_those_of_the_source(gankit, toy, toy_run):
    source = toy_run("source")
    done = gankit("run", "toy.toml", "--out", "new", f"init.generator={source}", *STILL, "train.iterations=1")
    assert (done.code, done.err) == (0, "")
    file = source / "checkpoints" / "000012" / "generator.safetensors"
    assert done.out.startswith(f"init.generator: 4 of 4 tensors, 100% of the weights, from {file}, iteration 12\n")
    assert (pixels(toy / "new/samples/000001.png") == pixels(source / "samples/000012.png")).all()
    gankit("sample", "new", "--out", "new.png", "--trust")
    gankit("sample", "source", "--out", "old.png", "--trust")
    assert (pixels(toy / "new.png") == pixels(toy / "old.png")).all()


def test_paths_are_relative_to_the_recipe(gankit, toy, toy_run):
    source = toy_run("source")
    (toy / "sub").mkdir()
    text = 'extends = "../toy.toml"\n[init]\ngenerator = "../source/generator.safetensors"\n'
    (toy / "sub" / "tuned.toml").write_text(text)
    done = gankit("validate", "sub/tuned.toml")
    assert done.code == 0
    file = f"{source}/generator.safetensors"
    assert f"  init.generator: 4 of 4 tensors, 100% of the weights, from {file}, iteration 12\n" in done.out


def test_a_killed_run_continues_without_its_source(gankit, start_process, toy, toy_run):
    source = toy_run("source")
    settings = ["init.generator=source/generator.safetensors", "init.discriminator=source", "output.checkpoint_every=2"]
    # The signal is part of the recipe, so both runs have the plugin. It acts only if there is no file `sent`.
    settings += ["tricks.signals.use=./toy.py:Signals", f"tricks.signals.number={int(signal.SIGKILL)}"]
    (toy / "sent").touch()
    assert gankit("run", "toy.toml", "--out", "whole", *settings).code == 0
    (toy / "sent").unlink()
    assert start_process("run", "toy.toml", "--out", "cut", *settings).wait(timeout=120) == -signal.SIGKILL
    assert sorted(p.name for p in (toy / "cut" / "checkpoints").iterdir()) == ["000002", "000004"]
    shutil.rmtree(source)
    done = gankit("resume", "cut")
    assert (done.code, done.err) == (0, "")
    assert "init." not in done.out
    for name in ("generator.safetensors", "init.json", "checkpoints/000012/discriminator.safetensors"):
        assert (toy / "cut" / name).read_bytes() == (toy / "whole" / name).read_bytes(), name
    card, _ = read_generator_file(toy / "cut" / "generator.safetensors")
    assert card["origins"] == json.loads((toy / "cut" / "environment.json").read_text())["origins"]
    assert card["origins"]["discriminator"]["iteration"] == 12


def test_a_mistake_is_one_sentence_and_leaves_no_run(gankit, toy):
    done = gankit("run", "toy.toml", "--out", "new", "init.generator=none.safetensors")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: toy.toml: init.generator: there is no file or folder {toy}/none.safetensors\n"
    assert not (toy / "new").exists()
