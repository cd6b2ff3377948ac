"""Addresses on the hub, and errors of huggingface_hub as sentences. There is no network in these tests."""

import importlib
import sys
from types import SimpleNamespace

import pytest

from gankit.errors import GankitError, InputError
from gankit.storage.hub import Address, download_generator, hub_errors, is_address, parse_address
from tests.gankit.cli.fake_hub import install_fake_hub


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://ann/shapes", Address("ann/shapes")),
        ("hf:/ann/shapes", Address("ann/shapes")),  # as `Path` writes it
        ("hf://ann/sha-pes_1.0@v2", Address("ann/sha-pes_1.0", "v2")),
        ("hf://ann/shapes@refs/pr/1", Address("ann/shapes", "refs/pr/1")),
    ],
)
def test_addresses(text, address):
    assert is_address(text)
    assert parse_address(text) == address
    assert str(address) == text.replace("hf:/ann", "hf://ann")


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://ann", "hf://ann/", "hf://ann/shapes/x", "hf://ann/a b", "hf://ann/shapes@", "ann/shapes"],
)
def test_other_texts_are_no_addresses(text):
    with pytest.raises(InputError, match="is not an address; write hf://USER/NAME"):
        parse_address(text)


@pytest.mark.parametrize("text", ["runs/hf:/x", "./hf://x", "hf", "shf://a/b"])
def test_paths_are_no_addresses(text):
    assert not is_address(text)


SENTENCES = {
    "LocalEntryNotFoundError": (
        GankitError,
        "the hub cannot be reached, and generator.safetensors is not in the cache",
    ),
    "RevisionNotFoundError": (InputError, "there is no such revision; choose a branch, a tag or a commit"),
    "GatedRepoError": (InputError, "needs permission; request it on https://huggingface.co/ann/shapes"),
    "RepositoryNotFoundError": (
        InputError,
        "there is no such repository; if it is private, log in with `hf auth login`",
    ),
    "RemoteEntryNotFoundError": (InputError, "has no file generator.safetensors; choose a repository of `gankit push`"),
    "HFValidationError": (InputError, "is not an address: because"),
    "HfHubHTTPError": (GankitError, "the hub reports an error: because"),
    "OfflineModeIsEnabled": (GankitError, "the hub cannot be reached: because"),
}


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("name", SENTENCES)
def test_errors_are_sentences(name, real, monkeypatch):
    errors = pytest.importorskip("huggingface_hub.errors") if real else install_fake_hub(monkeypatch).errors
    kind, sentence = SENTENCES[name]
    error_class = getattr(errors, name)
    error = error_class.__new__(error_class, "because")
    error.args = ("because",)
    error.response = SimpleNamespace(status_code=500)
    with pytest.raises(kind, match=f"^hf://ann/shapes: {sentence}") as raised, hub_errors(Address("ann/shapes")):
        raise error
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [401, 403])
def test_missing_permission_is_a_sentence(status, monkeypatch):
    error = install_fake_hub(monkeypatch).errors.HfHubHTTPError("forbidden")
    error.response = SimpleNamespace(status_code=status)
    with pytest.raises(InputError, match="no permission; log in with `hf auth login`"), hub_errors(Address("a/b")):
        raise error


def test_real_library_without_network(tmp_path, monkeypatch):
    """The constants of huggingface_hub are read at its import, so set the one for offline use directly."""
    pytest.importorskip("huggingface_hub")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(GankitError, match="hf://ann/shapes: the hub cannot be reached, and"):
        download_generator(Address("ann/shapes"))
    with pytest.raises(InputError, match="hf://ann/-x: is not an address: Repo id must use"):
        download_generator(Address("ann/-x"))


def test_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"huggingface_hub is not installed.*; run `pip install 'gankit\[hub\]'`"):
        download_generator(Address("ann/shapes"))
