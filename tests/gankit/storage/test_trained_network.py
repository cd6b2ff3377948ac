"""Sources of trained networks: runs, checkpoints, generator files and files from elsewhere."""

import hashlib
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from gankit.errors import InputError
from gankit.storage.trained_network import PICKLED, read_trained_network


@pytest.fixture
def run(train_toy, tmp_path):
    """Return the directory of a run with checkpoints of iterations 2, 4 and 6, and an extra network."""
    return train_toy(tricks={"encode": {"use": "Encode"}}).path


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("network", ["generator", "discriminator", "encoder"])
def test_a_run_stands_for_its_newest_whole_checkpoint(run, network):
    tensors, origin = read_trained_network(run, network)
    file = run / "checkpoints" / "000006" / f"{network}.safetensors"
    assert equal(tensors, load_file(file))
    assert origin == {"path": str(file), "sha256": digest(file), "network": network, "iteration": 6}
    file.write_bytes(b"damaged")
    assert read_trained_network(run, network)[1]["iteration"] == 4


def test_a_checkpoint(run):
    tensors, origin = read_trained_network(run / "checkpoints" / "000002", "encoder")
    assert origin["iteration"] == 2
    assert equal(tensors, load_file(run / "checkpoints" / "000002" / "encoder.safetensors"))


def test_a_generator_file(run):
    file = run / "generator.safetensors"
    tensors, origin = read_trained_network(file, "generator")
    assert equal(tensors, load_file(file))
    assert origin == {"path": str(file), "sha256": digest(file), "network": "generator", "iteration": 6}


def test_a_file_from_elsewhere(tmp_path):
    file = tmp_path / "theirs.safetensors"
    save_file({"a": torch.arange(3.0)}, file)
    tensors, origin = read_trained_network(file, "discriminator")
    assert tensors["a"].tolist() == [0, 1, 2]
    assert origin == {"path": str(file), "sha256": digest(file), "network": None, "iteration": None}


@pytest.mark.parametrize("suffix", [*PICKLED, ".PT"])
def test_pickled_files_are_not_opened(tmp_path, suffix):
    file = tmp_path / f"theirs{suffix}"
    file.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError) as error:
        read_trained_network(file, "generator")
    assert "gankit does not read pickled files" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_code_in_the_refusal_converts_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.arange(6.0).view(2, 3).T}, "theirs.pt")
    with pytest.raises(InputError) as error:
        read_trained_network(tmp_path / "theirs.pt", "generator")
    exec(str(error.value).split("`")[1], {})
    tensors, _ = read_trained_network(tmp_path / "theirs.safetensors", "generator")
    assert tensors["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_sources_that_cannot_be_used(run, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(run, tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "checkpoints")
    (tmp_path / "text.safetensors").write_text("text")
    for path, network, expected in [
        (tmp_path / "none", "generator", "there is no file or folder"),
        (tmp_path / "empty", "generator", "is neither a run directory nor a checkpoint"),
        (tmp_path / "new", "generator", "no checkpoint is saved yet"),
        (tmp_path / "text.safetensors", "generator", "cannot be read"),
        (run, "critc", "has no network 'critc'; it has generator, discriminator, critic, encoder"),
        (
            run / "generator.safetensors",
            "discriminator",
            "contains a generator; for the network 'discriminator', give a run",
        ),
    ]:
        with pytest.raises(InputError) as error:
            read_trained_network(path, network)
        assert expected in str(error.value), expected
