"""Tests of generator files: content, damage, and files of unknown origin."""

import copy
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gankit import InputError, Plugin, Recipe, hookimpl
from gankit.sampling.generator_file import read_generator_file, save_generator
from gankit.sampling.sampler import Sampler
from gankit.training.assembly import assemble


def card_of(path):
    with safe_open(path, framework="pt") as opened:
        return json.loads(opened.metadata()["gankit"])


def altered(path, change):
    """Change the metadata of a file."""
    card = card_of(path)
    change(card)
    save_file(load_file(path), path, {"gankit": json.dumps(card)})
    return path


SCRIPT = """
import sys, torch
from gankit.sampling.sampler import Sampler
images, labels = Sampler.load(sys.argv[1], trust=True).sample(70, seed=5)
sys.stdout.buffer.write(bytes(images.flatten().tolist()))
"""


def test_a_file_alone_gives_the_same_images_in_another_process(toy_file, tmp_path, monkeypatch):
    run = assemble(Recipe.load(toy_file()))
    alone = tmp_path / "elsewhere" / "g.safetensors"
    save_generator(run, alone)
    run.recipe = None
    here, labels = Sampler.load(alone, trust=True).sample(70, seed=5)
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT, alone.name], cwd=alone.parent, capture_output=True, check=True, timeout=120
    )
    assert there.stdout == bytes(here.flatten().tolist())
    assert here.shape == (70, 1, 8, 8)
    assert labels.tolist() == [0, 1] * 35


def test_only_the_plugins_of_the_generator_are_needed(file, shelf, toys):
    path = file(tricks={"w": {"use": "Wander"}})
    assert card_of(path)["needed"] == ["latent", "generator", "normalization.generator"]
    expected = Sampler.load(path).sample(3)[0]
    shelf.registry.entries = [e for e in shelf.registry.entries if e.name in ("Normal", "G", "BatchNorm")]
    assert torch.equal(Sampler.load(path).sample(3)[0], expected)


def test_a_plugin_that_wraps_the_generator_is_needed(shelf, file):
    @shelf.add
    class Wrap(Plugin):
        name = "wrap"

        @hookimpl
        def wrap_network(self, player, network):
            if player == "generator":
                network.gain = torch.nn.Parameter(torch.tensor(0.5))

    path = file(tricks={"w": {"use": "Wrap"}})
    assert "tricks.w" in card_of(path)["needed"]
    assert Sampler.load(path).sample(2)[0].shape == (2, 1, 8, 8)


def test_plugins_that_do_not_change_the_generator_are_not_needed(shelf, file):
    """One wraps D, one sets initial weights of G, and three change G in place."""

    def wrapper(label, act):
        @hookimpl
        def wrap_network(self, player, network):
            return act(player, network)

        shelf.add(type(label, (Plugin,), {"name": label, "wrap_network": wrap_network, "__doc__": "Wraps."}))

    def initial(player, network):
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 0.1)

    def on_generator(act):
        return lambda player, network: act(network) if player == "generator" else None

    class Same(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images, labels):
            return self.network(images, labels)

    wrapper("OnlyD", lambda player, network: Same(network) if player == "discriminator" else None)
    wrapper("Initial", initial)
    wrapper("Hook", on_generator(lambda network: network.register_forward_hook(lambda *a: None) and None))
    wrapper("Attribute", on_generator(lambda network: setattr(network, "slope", 0.5)))
    wrapper("Child", on_generator(lambda network: network.add_module("extra", torch.nn.ReLU())))
    names = ["OnlyD", "Initial", "Hook", "Attribute", "Child"]
    card = card_of(file(tricks={name.lower(): {"use": name} for name in names}))
    assert [key for key in card["needed"] if key.startswith("tricks.")] == [
        "tricks.hook",
        "tricks.attribute",
        "tricks.child",
    ]


def test_metadata(file):
    card = card_of(file(seed=9))
    assert card["recipe"]["seed"] == 9
    assert card["iteration"] == 3
    recorded = card["plugins"]["generator"]
    assert (recorded["use"], recorded["distribution"], recorded["version"]) == ("G", "toys", "1.0")


def test_the_generator_to_sample_from_is_saved(shelf, toy_run, tmp_path):
    class Other(Plugin):
        name = "other"

        @hookimpl
        def sampling_generator(self, run):
            if not hasattr(self, "network"):
                self.network = run.plugins["generator"].build_generator(run.spec)
            return self.network

    shelf.add(Other)
    run = toy_run(tricks={"other": {"use": "Other"}})
    save_generator(run, tmp_path / "g")
    saved = load_file(tmp_path / "g")
    chosen = run.plugins["tricks.other"].network.state_dict()
    assert all(torch.equal(saved[name], chosen[name]) for name in saved)
    assert not torch.equal(saved["paint.weight"], run.generator.paint.weight)


def test_the_hooks_that_build_a_generator_get_the_run_and_the_spec(shelf, toy_run, tmp_path, toys):
    seen = []

    class Built(toys.G):
        name = "built"

        @hookimpl
        def build_generator(self, spec, run):
            seen.append(("build", run, spec.latent_size))
            return super().build_generator(spec)

        @hookimpl
        def wrap_network(self, player, run, spec):
            seen.append((player, run, spec.latent_size))

    shelf.add(Built)
    run = toy_run(generator={"use": "Built"})
    size = run.spec.latent_size
    assert seen == [("build", run, size), ("generator", run, size), ("discriminator", run, size)]
    seen.clear()
    save_generator(run, tmp_path / "g")
    Sampler.load(tmp_path / "g")
    assert seen == [("build", None, size), ("generator", None, size)]


def test_each_plugin_changes_the_generator_of_the_plugin_before_it(shelf, toy_run, tmp_path):
    class Doubled(Plugin):
        name = "doubled"

        @hookimpl
        def sampling_generator(self, network):
            network = copy.deepcopy(network)
            with torch.no_grad():
                network.paint.weight.mul_(2)
            return network

    class Kept(Plugin):
        name = "kept"
        sampling_generator = hookimpl(lambda self: None)

    shelf.add(Doubled)
    shelf.add(Kept)
    run = toy_run(tricks={"a": {"use": "Doubled"}, "kept": {"use": "Kept"}, "b": {"use": "Doubled"}})
    save_generator(run, tmp_path / "g")
    assert torch.equal(load_file(tmp_path / "g")["paint.weight"], 4 * run.generator.paint.weight)
    assert run.sampled_generator_name() == "doubled, doubled"
    assert toy_run().sampled_generator_name() == "newest"


def test_files_that_are_not_generator_files(tmp_path, file):
    save_file({"x": torch.zeros(1)}, tmp_path / "plain")
    save_file({"x": torch.zeros(1)}, tmp_path / "other", {"gankit": '{"format": "gankit-images-1"}'})
    (tmp_path / "text").write_bytes(b"hello, this is no generator at all")
    (tmp_path / "huge").write_bytes(struct.pack("<Q", 2**60) + file().read_bytes()[8:])
    for name, message in [
        ("gone", "there is no generator file"),
        (".", "is not a run directory"),
        ("text", "cannot be read; it may be truncated"),
        ("huge", "cannot be read; it may be truncated"),
        ("plain", "is not a generator file that this version of gankit can read"),
        ("other", "is not a generator file that this version of gankit can read"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            Sampler.load(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def test_every_truncated_file_is_an_input_error(tmp_path, file):
    whole = file().read_bytes()
    cut = tmp_path / "cut"
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=f"{cut} cannot be read; it may be truncated"):
            read_generator_file(cut)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.update(format=99),
        lambda card: card.pop("needed"),
        lambda card: card.pop("recipe"),
        lambda card: card.update(recipe=[]),
        lambda card: card.update(spec=None),
        lambda card: card["spec"].pop("condition"),
        lambda card: card["spec"].update(from_the_future=1),
        lambda card: card["spec"].update(condition=3),
        lambda card: card.update(plugins=[]),
        lambda card: card.update(needed=[]),
        lambda card: card.update(needed=["latent"]),
        lambda card: card["recipe"]["generator"].update(use="gone"),
        lambda card: card["recipe"]["generator"].update(width=-1),
        lambda card: card["recipe"].update(generator=7),
    ],
)
def test_wrong_metadata_is_an_input_error(file, change):
    path = altered(file(), change)
    with pytest.raises(InputError, match=str(path)):
        Sampler.load(path)


def test_weights_that_do_not_fit_name_the_recorded_plugins(file):
    path = altered(file(), lambda card: card["recipe"]["generator"].update(width=7))
    with pytest.raises(
        InputError, match=r"was made with .*generator toys 1\.0.*does not fit the plugins installed now"
    ):
        Sampler.load(path)


UNTRUSTED = """
import sys
from pathlib import Path
sys.untrusted_code_ran = True
from gankit import Plugin
class Evil(Plugin):
    name, kind = "evil", "generator"
"""


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "not recorded"])
@pytest.mark.parametrize("key", ["generator", "latent", "normalization.generator", "tricks.x"])
def test_an_untrusted_file_runs_no_code(file, tmp_path, key, recorded):
    (tmp_path / "evil.py").write_text(UNTRUSTED)
    use = f"{tmp_path / 'evil.py'}:Evil"

    def change(card):
        table, _, name = key.partition(".")
        if name:
            card["recipe"][table] = card["recipe"].get(table, {}) | {name: {"use": use}}
        else:
            card["recipe"][table] = {"use": use}
        card["needed"] = sorted({*card["needed"], key})
        if recorded:
            card["plugins"][key] = {"use": use, "distribution": "", "version": "", "origin": ""}

    path = altered(file(), change)
    with pytest.raises(InputError) as error:
        Sampler.load(path)
    assert str(error.value) == f"{path} imports {use}; if you trust it, add --trust"
    assert not hasattr(sys, "untrusted_code_ran")


@pytest.mark.parametrize(
    "nested",
    [
        lambda table: {"images": table},
        lambda table: {"list": [table]},
        lambda table: {"a": {"use": "plain", "b": table}},
    ],
    ids=["table", "list", "two levels"],
)
def test_an_untrusted_file_runs_no_code_of_a_dataset_in_a_setting(file, tmp_path, nested):
    """A data plugin checks the table of another dataset, and so imports its plugin."""
    (tmp_path / "evil.py").write_text(UNTRUSTED)
    use = f"{tmp_path / 'evil.py'}:Evil"

    def change(card):
        card["recipe"]["data"] = {"use": "nested"} | nested({"use": use})
        card["needed"].append("data")

    path = altered(file(), change)
    with pytest.raises(InputError) as error:
        Sampler.load(path)
    assert str(error.value) == f"{path} imports {use}; if you trust it, add --trust"
    assert not hasattr(sys, "untrusted_code_ran")


@pytest.mark.parametrize("use", ["./evil.py:Evil", "evil.py:Evil", "os:getcwd"])
def test_an_untrusted_file_runs_no_code_by_the_name_of_a_trick(file, tmp_path, use):
    (tmp_path / "evil.py").write_text(UNTRUSTED)

    def change(card):
        card["recipe"]["tricks"] = {use: {}}
        card["needed"].append(f"tricks.{use}")

    with pytest.raises(InputError):
        Sampler.load(altered(file(), change))
    assert not hasattr(sys, "untrusted_code_ran")


def test_a_trusted_file_imports_its_plugins(toy_file):
    path = Path(toy_file()).parent / "g.safetensors"
    save_generator(assemble(Recipe.load(toy_file())), path)
    with pytest.raises(InputError, match="add --trust"):
        Sampler.load(path)
    assert Sampler.load(path, trust=True).sample(1)[0].shape == (1, 1, 8, 8)
