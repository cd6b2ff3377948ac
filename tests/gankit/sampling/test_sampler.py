"""From a generator file to images: with that file alone, in any process, and without a stranger's code."""

import hashlib
import json
import math
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gankit import InputError, Plugin, hookimpl
from gankit.sampling.generator_file import read_generator_file, save_generator
from gankit.sampling.grid import GridSampler, interpolate_rows, grid_layout, truncation_rows
from gankit.sampling.sampler import REDRAWS, Sampler, save_images
from gankit.training.assembly import assemble


@pytest.fixture
def file(toy_game, tmp_path):
    """A generator file of a game, a few iterations in."""
    from gankit.training.update import train_iteration

    def make(name="generator.safetensors", **changes):
        run = toy_game(**changes)
        for _ in range(3):
            train_iteration(run)
        save_generator(run, tmp_path / name)
        return tmp_path / name

    return make


def card_of(path):
    with safe_open(path, framework="pt") as opened:
        return json.loads(opened.metadata()["gankit"])


def altered(path, change):
    """The same file with another card."""
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


def test_the_file_alone_draws_the_same_in_another_process(toy_file, tmp_path, monkeypatch):
    from gankit import Recipe

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


def test_no_data_and_no_other_plugin_is_needed(file, shelf, toys):
    path = file(tricks={"w": {"use": "Wander"}})
    assert card_of(path)["needed"] == ["latent", "generator", "normalization.generator"]
    expected = Sampler.load(path).sample(3)[0]
    shelf.registry.entries = [e for e in shelf.registry.entries if e.name in ("Normal", "G", "BatchNorm")]
    assert torch.equal(Sampler.load(path).sample(3)[0], expected)


def test_what_wraps_the_generator_is_needed(shelf, file):
    class Gain(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.gain = inner, torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, z, labels):
            return self.inner(z, labels) * self.gain

    @shelf.add
    class Wrap(Plugin):
        name = "wrap"

        @hookimpl
        def wrap_network(self, player, network):
            return Gain(network) if player == "generator" else None

    path = file(tricks={"w": {"use": "Wrap"}})
    assert "tricks.w" in card_of(path)["needed"]
    assert Sampler.load(path).sample(2)[0].shape == (2, 1, 8, 8)


def test_the_file_says_how_it_came_about(file, toys):
    card = card_of(file(seed=9))
    assert card["recipe"]["seed"] == 9
    assert card["iteration"] == 3
    assert card["plugins"]["generator"] == {
        "use": "G",
        "distribution": "toys",
        "version": "1.0",
        "origin": "gankit_toys:G",
        "sha256": hashlib.sha256(Path(toys.__file__).read_bytes()).hexdigest(),
    }


def test_the_same_game_gives_the_same_bytes(file):
    assert file("a").read_bytes() == file("b").read_bytes()


def test_another_generator_may_be_chosen_to_sample_from(shelf, toy_game, tmp_path):
    class Other(Plugin):
        name = "other"

        @hookimpl
        def sampling_generator(self, run):
            if not hasattr(self, "network"):
                self.network = run.plugins["generator"].build_generator(run.spec)
            return self.network

    shelf.add(Other)
    run = toy_game(tricks={"other": {"use": "Other"}})
    save_generator(run, tmp_path / "g")
    saved = load_file(tmp_path / "g")
    chosen = run.plugins["tricks.other"].network.state_dict()
    assert all(torch.equal(saved[name], chosen[name]) for name in saved)
    assert not torch.equal(saved["paint.weight"], run.generator.paint.weight)


# Sampling itself


def test_a_seed_decides(file):
    sampler = Sampler.load(file())
    assert torch.equal(sampler.sample(5, seed=1)[0], sampler.sample(5, seed=1)[0])
    assert not torch.equal(sampler.sample(5, seed=1)[0], sampler.sample(5, seed=2)[0])
    assert sampler.sample(5)[0].dtype == torch.uint8


def test_more_images_begin_with_the_fewer(file):
    sampler = Sampler.load(file())
    z = sampler.latent(200, None, seed=3)
    labels = sampler.labels(200)
    in_chunks = torch.cat(list(sampler.images(z, labels)))
    one_by_one = torch.cat([next(sampler.images(z[i : i + 1], labels[i : i + 1])) for i in range(0, 200, 37)])
    assert torch.equal(in_chunks[::37], one_by_one)


def test_classes_by_name_and_by_number(file):
    sampler = Sampler.load(file(data={"classes": 3}))
    assert [sampler.class_index(w) for w in ("a", "c", "0", "2")] == [0, 2, 0, 2]
    assert sampler.sample(4, wanted=2)[1].tolist() == [2, 2, 2, 2]
    assert sampler.sample(4)[1].tolist() == [0, 1, 2, 0]
    for wrong in ("d", "3", "-1", ""):
        with pytest.raises(InputError, match="there are a, b, c"):
            sampler.class_index(wrong)


def test_a_name_wins_over_a_number(file):
    sampler = Sampler.load(file())
    sampler.class_names = ("1", "0")
    assert sampler.class_index("1") == 0


def test_without_classes_there_are_none_to_ask_for(file):
    sampler = Sampler.load(file(data={"classes": 0}))
    assert sampler.sample(2)[1] is None
    with pytest.raises(InputError, match="class 'a': this generator cannot be asked for a class"):
        sampler.class_index("a")


def test_truncation_bounds_z_and_draws_the_rest_again(file):
    sampler = Sampler.load(file())
    free, cut = sampler.latent(500, None, 7), sampler.latent(500, None, 7, truncation=0.8)
    assert free.abs().max() > 0.8
    assert cut.abs().max() <= 0.8
    near = free.abs() <= 0.8
    assert torch.equal(free[near], cut[near])
    # What was drawn again has the law of a normal number within the bound, whose variance is 0.1824 (by integration).
    again = cut[~near]
    assert len(again) > 500
    assert again.mean().abs() < 0.06
    assert abs(again.var().item() - 0.1824) < 0.03
    assert torch.equal(sampler.latent(5, None, 7, truncation=100.0), sampler.latent(5, None, 7))


@pytest.mark.parametrize("truncation", [0.0, -1.0])
def test_a_truncation_that_nothing_lies_within(file, truncation, monkeypatch):
    monkeypatch.setattr("gankit.sampling.sampler.REDRAWS", 20)
    with pytest.raises(InputError, match=f"truncation {truncation}: .*give a larger one"):
        Sampler.load(file()).latent(2, None, 0, truncation=truncation)
    assert REDRAWS > 20


def test_looking_at_a_run_does_not_change_it(toy_game):
    run = toy_game(generator={"dropout": 0.5})
    run.generator.dropout.eval()
    modes = [m.training for m in run.generator.modules()]
    before = {name: value.clone() for name, value in run.generator.state_dict().items()}
    states = torch.get_rng_state(), random.getstate()
    grids = GridSampler(run)
    first, second = grids.draw(), grids.draw()
    assert first.tobytes() == second.tobytes()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert [m.training for m in run.generator.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in run.generator.state_dict().items())


def test_an_error_while_sampling_leaves_the_modes_as_they_were(toy_game, monkeypatch):
    run = toy_game()
    monkeypatch.setattr(run.generator.paint, "forward", lambda x: 1 / 0)
    state = torch.get_rng_state()
    grids = GridSampler(run)
    with pytest.raises(ZeroDivisionError):
        grids.draw()
    assert run.generator.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("classes", "count", "wanted", "layout"),
    [
        (0, 9, None, (9, 3, None)),
        (0, 10, None, (10, 3, None)),
        (0, 1, None, (1, 1, None)),
        (2, 8, None, (8, 4, [0, 0, 0, 0, 1, 1, 1, 1])),
        (2, 9, None, (8, 4, [0, 0, 0, 0, 1, 1, 1, 1])),
        (3, 1, None, (3, 1, [0, 1, 2])),
        (3, 4, 1, (4, 2, [1, 1, 1, 1])),
    ],
)
def test_a_grid_has_a_row_for_each_class(file, classes, count, wanted, layout):
    sampler = Sampler.load(file(data={"classes": classes}))
    number, columns, labels, names = grid_layout(sampler, count, wanted)
    assert (number, columns, None if labels is None else labels.tolist()) == layout
    assert names == (("a", "b", "c")[:classes] if wanted is None else ())


def test_rows_of_an_interpolation_are_what_the_generator_gives(file, toys, monkeypatch):
    """By a loop of its own: the ends are those of the grid without it, and what lies between is drawn one by one."""
    for spherical, mixed in [
        (True, lambda p, q, t, a: (math.sin((1 - t) * a) * p + math.sin(t * a) * q) / math.sin(a)),
        (False, lambda p, q, t, a: (1 - t) * p + t * q),
    ]:
        monkeypatch.setattr(toys.Normal, "spherical", spherical)
        sampler = Sampler.load(file(generator={"dropout": 0.0}))
        count, columns, labels, _ = grid_layout(sampler, 8)
        plain = sampler.latent(count, labels, 5)
        z, same_labels = interpolate_rows(sampler, plain, labels, columns)
        assert torch.equal(same_labels, labels)
        got = torch.cat(list(sampler.outputs(z, labels)))
        for row in range(2):
            p, q = plain[4 * row].double(), plain[4 * row + 3].double()
            angle = math.acos(p @ q / p.norm() / q.norm())
            for column in range(4):
                at = mixed(p, q, column / 3, angle).float()[None]
                expected = next(sampler.outputs(at, torch.tensor([row])))
                assert torch.allclose(got[4 * row + column], expected[0], atol=1e-5)


def test_an_interpolation_leaves_out_a_row_that_is_not_full(file):
    sampler = Sampler.load(file(data={"classes": 0}))
    plain = sampler.latent(11, None, 5)
    z, labels = interpolate_rows(sampler, plain, None, 3)
    assert (z.shape, labels) == ((9, 4), None)
    assert torch.equal(z[::3], plain[:9:3])
    assert torch.equal(z[2::3], plain[2:9:3])
    with pytest.raises(InputError, match="--interpolate: rows of 2 have nothing between their ends; a larger --count"):
        interpolate_rows(sampler, plain, None, 2)


@pytest.mark.parametrize("wanted", [None, 1])
def test_a_sweep_has_a_row_for_each_truncation(file, wanted):
    sampler = Sampler.load(file())
    z, labels, columns, names = truncation_rows(sampler, 11, [0.5, 1.5, math.inf], 7, wanted)
    assert columns == 3
    assert names == ("truncation 0.5", "truncation 1.5", "whole prior")
    assert labels.tolist() == ([0, 1, 0] if wanted is None else [1, 1, 1]) * 3
    free = sampler.latent(3, labels[:3], 7)
    assert torch.equal(z[6:], free)
    for row, threshold in enumerate([0.5, 1.5]):
        cut = z[3 * row : 3 * row + 3]
        assert torch.equal(cut, sampler.latent(3, labels[:3], 7, threshold))
        near = free.abs() <= threshold
        assert torch.equal(cut[near], free[near])  # one z to a column, but for what was drawn again
        assert cut.abs().max() <= threshold
    assert len(truncation_rows(sampler, 1, [0.5, 1.0], 7)[0]) == 2


def test_a_sweep_without_classes(file):
    z, labels, columns, _ = truncation_rows(Sampler.load(file(data={"classes": 0})), 8, [1.0, 2.0], 0)
    assert (len(z), labels, columns) == (8, None, 4)


def test_a_folder_of_images_is_named_by_class_and_nothing_leads_out_of_it(file, tmp_path):
    sampler = Sampler.load(file())
    labels = sampler.labels(3)
    count = save_images(
        sampler.images(sampler.latent(3, labels, 0), labels), labels, ("../a", "b c"), tmp_path / "x" / "y"
    )
    assert count == 3
    assert sorted(p.name for p in (tmp_path / "x" / "y").iterdir()) == [
        "000000_.._a.png",
        "000001_b_c.png",
        "000002_.._a.png",
    ]


# Files that cannot be used


def test_files_that_are_no_generators(tmp_path, file):
    whole = file().read_bytes()
    plain = tmp_path / "plain.safetensors"
    save_file({"x": torch.zeros(1)}, plain)
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other, {"gankit": '{"format": "gankit-images-1"}'})
    for name, data in [
        ("half", whole[: len(whole) // 2]),
        ("short", whole[:-1]),
        ("empty", b""),
        ("text", b"hello, this is no generator at all"),
        ("huge", struct.pack("<Q", 2**60) + whole[8:]),
    ]:
        (tmp_path / name).write_bytes(data)
    for name, message in [
        ("gone", "there is no generator file"),
        (".", "there is no generator file"),
        ("half", "cannot be read; it may be truncated"),
        ("short", "cannot be read; it may be truncated"),
        ("empty", "cannot be read; it may be truncated"),
        ("text", "cannot be read; it may be truncated"),
        ("huge", "cannot be read; it may be truncated"),
        ("plain.safetensors", "its metadata does not say how to rebuild it"),
        ("other.safetensors", "is no generator that this version of gankit can read"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            Sampler.load(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def test_every_truncation_is_a_sentence(tmp_path, file):
    whole = file().read_bytes()
    cut = tmp_path / "cut"
    for length in range(0, len(whole), 97):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=str(cut)):
            read_generator_file(cut)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.update(format=99),
        lambda card: card.pop("needed"),
        lambda card: card.pop("recipe"),
        lambda card: card.update(recipe=[]),
        lambda card: card.update(spec=None),
        lambda card: card["spec"].pop("class_names"),
        lambda card: card["spec"].update(from_the_future=1),
        lambda card: card["spec"].update(class_names=3),
        lambda card: card.update(plugins=[]),
        lambda card: card.update(needed=[]),
        lambda card: card.update(needed=["latent"]),
        lambda card: card["recipe"]["generator"].update(use="gone"),
        lambda card: card["recipe"]["generator"].update(width=-1),
        lambda card: card["recipe"]["generator"].update(width=7),
        lambda card: card["recipe"].update(generator=7),
    ],
)
def test_a_card_that_cannot_be_followed_is_a_sentence(file, change):
    path = altered(file(), change)
    with pytest.raises(InputError, match=str(path)):
        Sampler.load(path)


def test_weights_that_do_not_fit_name_the_plugins_they_were_made_with(file):
    path = altered(file(), lambda card: card["recipe"]["generator"].update(width=7))
    with pytest.raises(
        InputError, match=r"was made with .*generator toys 1\.0.*does not fit the plugins installed now"
    ):
        Sampler.load(path)


STRANGER = """
import sys
sys.the_stranger_was_here = True
from gankit import Plugin
class Evil(Plugin):
    name, kind = "evil", "generator"
"""


@pytest.mark.parametrize("everywhere", [True, False], ids=["openly", "hidden behind an honest record"])
@pytest.mark.parametrize("key", ["generator", "latent", "normalization.generator", "tricks.x"])
def test_a_strangers_file_runs_no_code_of_its_choosing(file, tmp_path, key, everywhere):
    (tmp_path / "evil.py").write_text(STRANGER)
    use = f"{tmp_path / 'evil.py'}:Evil"

    def change(card):
        table, _, name = key.partition(".")
        if name:
            card["recipe"][table] = card["recipe"].get(table, {}) | {name: {"use": use}}
        else:
            card["recipe"][table] = {"use": use}
        card["needed"] = sorted({*card["needed"], key})
        if everywhere:
            card["plugins"][key] = {"use": use, "distribution": "", "version": "", "origin": ""}

    path = altered(file(), change)
    with pytest.raises(InputError) as error:
        Sampler.load(path)
    assert str(error.value) == f"{path} wants to import {use}; if you trust it, say --trust"
    assert not hasattr(sys, "the_stranger_was_here")


@pytest.mark.parametrize("use", ["./evil.py:Evil", "evil.py:Evil", "os:getcwd"])
def test_nor_as_the_name_of_a_trick(file, tmp_path, use):
    (tmp_path / "evil.py").write_text(STRANGER)

    def change(card):
        card["recipe"]["tricks"] = {use: {}}
        card["needed"].append(f"tricks.{use}")

    with pytest.raises(InputError):
        Sampler.load(altered(file(), change))
    assert not hasattr(sys, "the_stranger_was_here")


def test_a_trusted_file_imports_what_it_names(toy_file):
    from gankit import Recipe

    path = Path(toy_file()).parent / "g.safetensors"
    save_generator(assemble(Recipe.load(toy_file())), path)
    with pytest.raises(InputError, match="say --trust"):
        Sampler.load(path)
    assert Sampler.load(path, trust=True).sample(1)[0].shape == (1, 1, 8, 8)


def test_a_device_that_is_not_there(file):
    with pytest.raises(InputError, match="'cuda:77' given"):
        Sampler.load(file(), device="cuda:77")


def test_what_changes_z_for_sampling_acts_in_order_and_goes_with_the_file(shelf, play):
    class Scaled(Plugin):
        name = "scaled"

        @hookimpl
        def sampling_latent(self, z, redraw):
            return torch.where(z.abs() > 1, redraw(), z) * 0.5

    class Shifted(Plugin):
        name = "shifted"

        @hookimpl
        def sampling_latent(self, z):
            return z + 100

    for plugin in (Scaled, Shifted):
        shelf.add(plugin)
    run = play("changed", tricks={"a": {"use": "Scaled"}, "b": {"use": "Shifted"}})
    plain = play("plain")
    assert run.generator[-100:] == plain.generator[-100:]  # the tensors: training never sees the change
    randomness = torch.Generator().manual_seed(7)
    first, second = (torch.randn(5, 4, generator=randomness) for _ in range(2))
    expected = torch.where(first.abs() > 1, second, first) * 0.5 + 100
    sampler = Sampler(run.run.generator, run.run.hooks, run.run.spec, run.run.device)
    assert torch.equal(sampler.latent(5, None, 7), expected)
    card, _ = read_generator_file(run.path / "generator.safetensors")
    assert {"tricks.a", "tricks.b"} <= set(card["needed"])
