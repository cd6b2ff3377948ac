"""`gankit push`, and addresses `hf://USER/NAME` in other commands, with a stand-in for huggingface_hub."""

import io
import json
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from gankit.cli.arguments import load_with_content
from gankit.evaluation.standalone import sampler_of
from gankit.plugin.registry import Registry
from gankit.report.model_card import metrics_table
from gankit.report.run_record import Metric
from gankit.sampling.generator_file import save_generator
from gankit.sampling.sampler import Sampler
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.storage.checkpoint import read_tensors
from gankit.testing import tiny_run, train_iterations
from gankit.testing.harness import tiny_registry
from tests.gankit.cli.fake_hub import install_fake_hub

FILES = {"generator.safetensors", "recipe.toml", "samples.png", "README.md"}


@pytest.fixture
def hub(monkeypatch):
    return install_fake_hub(monkeypatch)


@pytest.fixture
def run(toy_run):
    return toy_run("run", "latent=./toy.py:Normal")


def test_a_pushed_run_is_sampled_from_its_address(gankit, run, hub):
    row = {"iteration": 12, "metrics": {"score": 1.25}, "protocol": {"data": "a|b"}, "settings": {}}
    (run / "evaluations.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"iteration": 10}) + "\n")
    answer = gankit("push", "run", "hf://ann/shapes", "--trust", "--private")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "hf://ann/shapes: generator.safetensors, recipe.toml, samples.png, README.md\n"
        "https://huggingface.co/ann/shapes\n"
    )
    assert hub.calls == [("create_repo", "ann/shapes", True), ("create_commit", "ann/shapes", "toy, iteration 12")]
    (files,) = hub.repositories["ann/shapes"]
    assert files.keys() == FILES
    assert files["generator.safetensors"] == (run / "generator.safetensors").read_bytes()
    recipe = tomllib.loads(files["recipe.toml"].decode())
    assert recipe["train"]["iterations"] == 12
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: gankit\n")
    assert tomllib.loads(card.split("```toml\n")[1].split("```")[0]) == recipe
    assert "gankit sample hf://ann/shapes --out samples.png" in card
    assert "2 classes: a, b" in card
    assert card.count("| `score` |") == 1
    assert "## Licence\n\nNot stated." in card
    # The picture of the model card is the grid of `gankit sample`, also from the address.
    for source in ("run", "hf://ann/shapes", "hf://ann/shapes@v0"):
        assert gankit("sample", source, "--out", "x.png", "--trust").code == 0
        assert Image.open("x.png").tobytes() == Image.open(io.BytesIO(files["samples.png"])).tobytes()
    downloads = [call for call in hub.calls if call[0] == "hf_hub_download"]
    assert downloads == [
        ("hf_hub_download", "ann/shapes", "generator.safetensors", None),
        ("hf_hub_download", "ann/shapes", "generator.safetensors", "v0"),
    ]


def test_other_commands_take_an_address(gankit, run, hub):
    assert gankit("push", "run/generator.safetensors", "hf://ann/shapes", "--trust", "--message", "first").code == 0
    assert hub.calls[-1] == ("create_commit", "ann/shapes", "first")
    assert hub.calls[0] == ("create_repo", "ann/shapes", None)
    assert gankit("video", "hf://ann/shapes", "--out", "x.gif", "--trust", "--seconds", "0.1", "--count", "1").code == 0
    assert sampler_of(Path("hf://ann/shapes"), "cpu", trust=True).card["iteration"] == 12
    assert hub.calls[2:] == [("hf_hub_download", "ann/shapes", "generator.safetensors", None)] * 2
    # The file plugins of a repository are not imported without --trust.
    answer = gankit("sample", "hf://ann/shapes", "--out", "y.png")
    assert (answer.code, answer.out) == (2, "")
    assert "add --trust" in answer.err


def test_an_existing_model_card_is_kept_unless_it_is_to_be_replaced(gankit, run, hub):
    hub.repositories["ann/shapes"] = [{"README.md": b"mine"}]
    answer = gankit("push", "run", "hf://ann/shapes", "--trust")
    assert answer.out.splitlines()[:2] == [
        "hf://ann/shapes: generator.safetensors, recipe.toml, samples.png",
        "README.md exists already and is kept; --replace-card replaces it",
    ]
    assert hub.repositories["ann/shapes"][-1]["README.md"] == b"mine"
    assert gankit("push", "run", "hf://ann/shapes", "--trust", "--replace-card").code == 0
    assert hub.repositories["ann/shapes"][-1]["README.md"] != b"mine"


def test_a_public_repository_is_refused_if_a_private_one_is_requested(gankit, run, hub):
    hub.repositories["ann/shapes"] = [{}]
    answer = gankit("push", "run", "hf://ann/shapes", "--trust", "--private")
    assert (answer.code, answer.out) == (2, "")
    assert "hf://ann/shapes: is public; make it private on https://huggingface.co/ann/shapes" in answer.err
    assert hub.repositories["ann/shapes"] == [{}]


def test_source_images_for_the_grid_of_an_image_to_image_generator(gankit, tmp_path, hub, monkeypatch):
    changes = {"data": {"condition": "image"}}
    save_generator(train_iterations(tiny_run({}, changes), 1), tmp_path / "g.safetensors")
    monkeypatch.setattr(Registry, "installed", lambda: tiny_registry({}))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    arguments = "push", str(tmp_path / "g.safetensors"), "hf://ann/edges", "--trust"
    assert "needs source images; name a folder of them with --input" in gankit(*arguments).err
    answer = gankit(*arguments, "--input", str(tmp_path / "a.png"))
    assert (answer.code, answer.err) == (0, "")
    assert (
        "gankit sample hf://ann/edges --input images --out s" in hub.repositories["ann/edges"][0]["README.md"].decode()
    )


def test_the_file_is_loaded_again_if_the_run_replaces_it(run, monkeypatch):
    path, load = run / "generator.safetensors", Sampler.load
    content, loaded = path.read_bytes(), []

    def load_and_replace(*arguments, **more):
        sampler = load(*arguments, **more)
        loaded.append(sampler.card["iteration"])
        tensors, card = read_tensors(path)
        path.write_bytes(tensors_to_bytes(tensors, card | {"iteration": 13}))
        return sampler

    monkeypatch.setattr(Sampler, "load", load_and_replace)
    sampler, read = load_with_content(run, trust=True)
    assert loaded == [12, 13]
    assert sampler.card["iteration"] == 13
    assert read == path.read_bytes() != content


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["push", "run", "shapes"], "shapes: is not an address; write hf://USER/NAME"),
        (["push", "run", "hf://ann/shapes@v1"], "an upload goes to the newest commit; leave out @v1"),
        (["push", "none", "hf://ann/shapes"], "there is no generator file none"),
        (["push", "run", "hf://ann/shapes"], "add --trust"),
        (["sample", "hf://ann/other", "--out", "x.png"], "hf://ann/other: there is no such repository"),
        (["sample", "hf://ann/empty", "--out", "x.png"], "hf://ann/empty: has no file generator.safetensors"),
        (["sample", "hf://ann/empty@no", "--out", "x.png"], "hf://ann/empty@no: there is no such revision"),
        (["sample", "hf://ann", "--out", "x.png"], "hf:/ann: is not an address"),
    ],
)
def test_errors(gankit, run, hub, toy, arguments, expected):
    hub.repositories["ann/empty"] = [{}]
    answer = gankit(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
    assert answer.err.count("\n") == 1
    assert not any(call[0].startswith("create") for call in hub.calls)
    assert not (toy / "x.png").exists()


def test_missing_package_is_one_sentence(gankit, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    answer = gankit("sample", "hf://ann/shapes", "--out", "x.png")
    assert answer.code == 2
    assert "huggingface_hub is not installed, which reaches the hub; run `pip install 'gankit[hub]'`" in answer.err


def test_table_of_metrics_escapes_its_cells():
    facts = ("count", "10"), ("data", "a|<b>\nc")
    table = metrics_table([(Metric("fid", (*facts, ("k", "x|y"))), 12.3456), (Metric("kid", facts), 0.5)])
    assert table.splitlines()[2:] == [
        "| `fid` | 12.35 | k: x\\|y |",
        "| `kid` | 0.5 |  |",
        "",
        "All: count: 10; data: a|&lt;b> c.",
    ]
    assert "No metrics" in metrics_table([])
