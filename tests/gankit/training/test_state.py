"""Checkpoints: complete state of a run, and detection of damaged files."""

import errno
import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gankit import GankitError, InputError, Plugin
from gankit.storage import checkpoint
from gankit.storage.checkpoint import DamagedError, newest_whole_checkpoint, verify
from gankit.storage.run_dir import RunDir
from gankit.training.state import capture, load_checkpoint, save_checkpoint
from gankit.training.update import train_iteration

EVERYTHING = {
    "train": {"discriminator_steps": 2, "class_balanced": True},
    "tricks": {"w": {"use": "Wander"}, "average": {"use": "Average"}},
    "lr_schedule": {"use": "Halving", "every": 2},
}
FILES = [
    "discriminator.safetensors",
    "generator.safetensors",
    "optimizer.safetensors",
    "plugins.safetensors",
    "random.safetensors",
    "state.json",
]


def trained(run, iterations):
    for _ in range(iterations):
        train_iteration(run)
    return run


def whole_state(run):
    """Return the state of a run as comparable values."""
    tensors, plain = capture(run)
    flat = {f"{file}/{name}": value for file, values in tensors.items() for name, value in values.items()}
    return flat, json.loads(json.dumps(plain))


@pytest.mark.parametrize("optimizer", ["Adam", "Sgd"])
def test_a_resumed_run_continues_with_the_same_state(toy_run, tmp_path, optimizer):
    changes = EVERYTHING | {"optimizer": {"generator": {"use": optimizer}}}
    unbroken = trained(toy_run(**changes), 3)
    place = save_checkpoint(unbroken, RunDir(tmp_path))
    trained(unbroken, 3)
    tensors, values = whole_state(unbroken)
    random.seed(1)
    resumed = toy_run(**changes)
    load_checkpoint(resumed, place)
    trained(resumed, 3)
    resumed_tensors, resumed_values = whole_state(resumed)
    assert resumed_values == values
    assert [name for name in tensors if not torch.equal(tensors[name], resumed_tensors[name])] == []
    assert resumed.iteration == 6
    assert resumed.step_counts == {"discriminator": 12, "generator": 6}


def test_the_files_of_a_checkpoint(toy_run, tmp_path):
    (tmp_path / "checkpoints" / ".tmp-000002" / "left by a killed process").mkdir(parents=True)
    place = save_checkpoint(trained(toy_run(**EVERYTHING), 2), RunDir(tmp_path))
    assert place == tmp_path / "checkpoints" / "000002"
    assert [p.name for p in place.parent.iterdir()] == ["000002"]
    assert sorted(p.name for p in place.iterdir()) == FILES
    assert verify(place)["iteration"] == 2
    # JSON and tensors only: a safetensors file is the length of its JSON in eight bytes, the JSON, and numbers.
    for file in place.glob("*.safetensors"):
        data = file.read_bytes()
        assert isinstance(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]), dict)


def test_the_memory_format_of_the_state_follows_the_weights(toy_run, tmp_path, shelf):
    # A fused optimiser reads weights and their averages side by side, so their layouts must be equal.
    class Conv(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.conv(images).mean((1, 2, 3))

    shelf.own.Conv = Conv
    changes = {
        "data": {"channels": 3},
        "discriminator": {"use": f"{shelf.own.__name__}:Conv"},
        "normalization": {"generator": {"use": "AsItIs"}},
    }
    unbroken = trained(toy_run(**changes), 2)
    place = save_checkpoint(unbroken, RunDir(tmp_path))
    trained(unbroken, 2)
    resumed = toy_run(**changes)
    load_checkpoint(resumed, place)
    trained(resumed, 2)
    weight, other = (run.discriminator.network.network.conv.weight for run in (unbroken, resumed))
    assert torch.equal(weight, other)


# Damage


@pytest.fixture
def saved(train_toy):
    """Return a run with checkpoints at iterations 2, 4 and 6."""
    return train_toy(tricks=EVERYTHING["tricks"])


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def alter(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("name", "damage"), [("state.json", truncate), ("generator.safetensors", alter), (FILES[3], Path.unlink)]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(saved, resume_toy, name, damage):
    before = saved.generator
    damaged = saved.path / "checkpoints" / "000006" / name
    damage(damaged)
    (saved.path / "generator.safetensors").unlink()
    again = resume_toy()
    first, second = again.reporter.messages
    assert first.startswith(f"{damaged} ")
    assert first.endswith("; using the checkpoint before it")
    assert second == f"resuming from {saved.path / 'checkpoints' / '000004'}"
    assert again.generator == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), data=st.data())
def test_every_changed_bit_is_detected(saved, name, data):
    place = saved.path / "checkpoints" / "000006"
    file = place / name
    whole, state = file.read_bytes(), verify(place)
    position, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    try:
        file.write_bytes(whole[:position] + bytes([whole[position] ^ (1 << bit)]) + whole[position + 1 :])
        try:
            # JSON allows several forms of the same value, such as 1e-05 and 1E-05, and any white space.
            assert verify(place) == state
            assert name == "state.json"
        except DamagedError as error:
            assert str(file) in str(error)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_truncated_file_is_damage(saved, name):
    file = saved.path / "checkpoints" / "000006" / name
    for damage in (truncate, Path.unlink):
        damage(file)
        with pytest.raises(DamagedError, match=f"^{re.escape(str(file))} "):
            verify(file.parent)


def test_damaged_checkpoints_do_not_replace_valid_ones(train_toy, resume_toy, tmp_path):
    run = train_toy(output={"keep_checkpoints": 2})
    assert run.checkpoints == ["000004", "000006"]
    truncate(run.path / "checkpoints" / "000006" / "state.json")
    again = resume_toy("run", "train.iterations=5", "output.keep_checkpoints=1")
    assert again.checkpoints == ["000005", "damaged-000006"]
    verify(run.path / "checkpoints" / "000005")


def test_another_format_is_refused_and_not_changed(saved, resume_toy):
    for place in (saved.path / "checkpoints").iterdir():
        plain = json.loads((place / "state.json").read_text())
        del plain["sha256"]
        plain["format"] = 99
        (place / "state.json").write_text(json.dumps(plain | {"sha256": checkpoint._digest(plain)}))
    before = {p: p.read_bytes() for p in saved.path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=r"000006/state\.json has format 99; this version of gankit reads format 4"):
        resume_toy()
    assert {p: p.read_bytes() for p in saved.path.rglob("*") if p.is_file()} == before


def test_a_wrong_state_file_is_damage(saved):
    place = saved.path / "checkpoints" / "000006"
    for text in (b"", b"[]", b"null", b"7", b'"x"', b"{}", b'{"format": 1}', b'{"sha256": 3}', b"\xff"):
        (place / "state.json").write_bytes(text)
        with pytest.raises(DamagedError, match=r"state\.json"):
            verify(place)
    assert newest_whole_checkpoint(RunDir(saved.path))[0].name == "000004"


@pytest.mark.parametrize(
    "change",
    [
        {"generator": {"width": 9}},
        {"optimizer": {"generator": {"use": "Sgd"}}, "discriminator": {"width": 2}},
        {"tricks": {"w": {"use": "Wander"}, "average": {"use": "Stateless"}}},
        {"train": {"class_balanced": True}},
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(saved, shelf, toy_run, change):
    class Stateless(Plugin):
        name = "stateless"

    shelf.add(Stateless)
    run = toy_run(**{"tricks": EVERYTHING["tricks"]} | change)
    place = saved.path / "checkpoints" / "000006"
    with pytest.raises(InputError, match=r"000006 does not fit the run's recipe\.toml and plugins: "):
        load_checkpoint(run, place)


# Writing


def test_a_failed_write_keeps_the_last_checkpoint_and_leaves_nothing_else(toy_run, tmp_path, monkeypatch):
    directory = RunDir(tmp_path)
    run = trained(toy_run(), 1)
    save_checkpoint(run, directory)
    trained(run, 1)
    for failing in range(6):
        calls = iter(range(100))

        def write(path, data, *, real=checkpoint._write_synced, calls=calls, failing=failing):
            if next(calls) == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, data)

        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "_write_synced", write)
            with pytest.raises(GankitError, match=r"the disk is full: .*000002 could not be written"):
                save_checkpoint(run, directory)
        assert [p.name for p in directory.checkpoints.iterdir()] == ["000001"]
        verify(directory.checkpoint(1))
    save_checkpoint(run, directory)
    verify(directory.checkpoint(2))


def test_the_same_checkpoint_is_not_written_twice(toy_run, tmp_path):
    run = trained(toy_run(), 1)
    place = save_checkpoint(run, RunDir(tmp_path))
    inode = place.stat().st_ino
    assert save_checkpoint(run, RunDir(tmp_path)) == place
    assert place.stat().st_ino == inode
    assert [p.name for p in place.parent.iterdir()] == ["000001"]


@pytest.mark.parametrize("damage", [truncate, alter])
def test_a_damaged_checkpoint_of_the_same_iteration_is_replaced(toy_run, tmp_path, damage):
    run = trained(toy_run(), 1)
    place = save_checkpoint(run, RunDir(tmp_path))
    damage(place / "generator.safetensors")
    save_checkpoint(run, RunDir(tmp_path))
    verify(place)


def test_other_folders_and_files_are_ignored(saved, resume_toy):
    shutil.copytree(saved.path / "checkpoints" / "000006", saved.path / "checkpoints" / "000006 copy")
    (saved.path / "checkpoints" / "000009").write_text("a file")
    assert resume_toy().reporter.messages[0] == f"resuming from {saved.path / 'checkpoints' / '000006'}"


def test_a_plugin_without_load_state_dict_is_an_error():
    class Half(Plugin):
        name = "half"

    with pytest.raises(ValueError, match="Half has a state_dict but no load_state_dict"):
        Half(None).load_state_dict({"x": 1})
