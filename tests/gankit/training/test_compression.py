"""Compression of generator files: distillation, pruning with fine-tuning, weights in 8 bits, and refused arguments."""

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from gankit import Plugin, Sampler, Settings, benchmark, compress, hookimpl, merge
from gankit.errors import GankitError, InputError
from gankit.sampling.benchmark import size_of
from gankit.sampling.generator_file import read_generator_file, save_generator
from gankit.storage.atomic_io import tensors_to_bytes
from gankit.storage.trained_network import read_trained_network
from gankit.training.compression import load_discriminator
from gankit.training.distillation import Batches, feature_loss, sample_loss
from gankit.training.update import train_iteration

FAST = {"iterations": 20, "device": "cpu"}
LONG = {"iterations": 400, "device": "cpu"}


@pytest.fixture
def wide(toy_run, tmp_path):
    """Generator file with 12 hidden units and batch normalisation, without classes."""
    run = toy_run(generator={"width": 12, "dropout": 0.0}, data={"classes": 0})
    for _ in range(6):
        train_iteration(run)
    save_generator(run, tmp_path / "wide.safetensors")
    return tmp_path / "wide.safetensors"


def samples(path):
    sampler = Sampler.load(path, "cpu")
    return torch.cat(list(sampler.outputs(sampler.latent(16, None, 5), None)))


def test_losses_are_the_equations():
    student, teacher = torch.tensor([[1.0, -1.0], [0.5, 0.0]]), torch.tensor([[0.0, -1.0], [1.0, 2.0]])
    assert sample_loss(student, teacher).item() == pytest.approx((1 + 0 + 0.5 + 2) / 4)
    assert feature_loss(student, teacher).item() == pytest.approx((3.5 / 4) / (4 / 4))
    assert feature_loss(student, torch.zeros(2, 2)).isfinite()


def test_distillation_reduces_the_distance_and_gives_an_ordinary_file(wide, tmp_path):
    before = wide.read_bytes()
    result = compress(wide, tmp_path / "small.safetensors", ["generator.width=6"], **LONG)
    assert result.distance < 0.5 * result.start
    assert (samples(tmp_path / "small.safetensors") - samples(wide)).abs().mean() < 0.7 * result.start
    assert result.after.generator.paint.weight.shape == (64, 6)
    assert not result.with_discriminator
    assert wide.read_bytes() == before
    card, _ = read_generator_file(tmp_path / "small.safetensors")
    assert card["recipe"]["generator"]["width"] == 6
    assert card["compression"][0]["settings"] == ["generator.width=6"]
    assert size_of(result.after, tmp_path / "small.safetensors").multiply_adds == 4 * 6 + 6 * 64
    again = compress(wide, tmp_path / "again.safetensors", ["generator.width=6"], **LONG)
    assert again.distance == result.distance
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "small.safetensors").read_bytes()


def test_pruned_file_is_read_again_pruned_again_and_narrowed(wide, tmp_path):
    half, quarter, other = (tmp_path / f"{name}.safetensors" for name in ("half", "quarter", "other"))
    first = compress(wide, half, share=0.5, iterations=0, device="cpu")
    assert (first.pruned.removed, first.pruned.units) == (6, 12)
    assert first.start == first.distance > 0
    assert first.after.generator.paint.weight.shape == (64, 6)
    assert first.after.generator.lift[1].num_features == 6
    assert samples(half).shape == (16, 1, 8, 8)
    tuned = compress(wide, tmp_path / "tuned.safetensors", share=0.5, **FAST)
    assert tuned.distance < first.distance
    assert compress(half, quarter, share=0.5, iterations=0, device="cpu").after.generator.paint.in_features == 3
    assert len(read_generator_file(quarter)[0]["compression"]) == 2
    # The student of a pruned generator has the shapes of its settings.
    assert compress(half, other, ["generator.width=5"], **FAST).after.generator.paint.in_features == 5
    assert not read_generator_file(other)[0]["pruned"]


def test_weights_in_8_bits(wide, tmp_path):
    out = tmp_path / "int8.safetensors"
    result = compress(wide, out, int8=True, device="cpu")
    assert (result.start, result.pruned) == (0, None)
    assert 0 < result.distance < 0.01
    with safe_open(out, "pt") as file:
        assert file.get_tensor("paint.weight.int8").dtype == torch.int8
    original, restored = read_generator_file(wide)[1], read_generator_file(out)[1]
    assert original.keys() == restored.keys()
    bound = original["paint.weight"].abs().amax(1, keepdim=True) / 127 / 2
    assert ((restored["paint.weight"] - original["paint.weight"]).abs() <= bound * (1 + 1e-5)).all()
    assert read_trained_network(out, "generator")[0].keys() == original.keys()
    # Compressed once more, the same weights are stored with the same numbers.
    again = tmp_path / "again.safetensors"
    assert compress(out, again, int8=True, device="cpu").distance < 1e-6


def test_conditional_generator_and_discriminator_of_a_run(train_toy, tmp_path, monkeypatch):
    """The classes of the batches vary, and D is neither trained nor in training mode."""
    run = train_toy(train={"iterations": 4}, generator={"dropout": 0.0}).path
    loaded = []
    monkeypatch.setattr(
        "gankit.training.compression.load_discriminator",
        lambda *arguments: loaded.append(load_discriminator(*arguments)) or loaded[-1],
    )
    out = tmp_path / "small.safetensors"
    result = compress(run, out, ["generator.width=5"], trust=True, **LONG)
    assert result.with_discriminator
    assert result.distance < result.start
    assert read_generator_file(out)[0]["compression"][0]["discriminator"]
    alone = compress(
        run / "generator.safetensors", tmp_path / "x.safetensors", ["generator.width=3"], trust=True, **FAST
    )
    assert not alone.with_discriminator
    assert (tmp_path / "x.safetensors").read_bytes() != out.read_bytes()
    discriminator = loaded[0].discriminator
    assert not any(module.training for module in discriminator.modules())
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    labels = Batches(result.before, 64, 0).draw(0)[1]
    assert set(labels.tolist()) == {0, 1}


def test_batches_of_a_balanced_generator_have_all_classes_equally_often(toy_run, tmp_path):
    run = toy_run(train={"batch_size": 9, "class_balanced": True}, data={"classes": 3})
    save_generator(run, tmp_path / "g.safetensors")
    batches = Batches(Sampler.load(tmp_path / "g.safetensors", "cpu"), 64, 0)
    assert batches.draw(3)[1].bincount().tolist() == [22, 22, 22]
    assert not batches.draw(3)[0].equal(batches.draw(4)[0])


def test_speed_has_a_row_for_each_backend_and_batch_size(wide, monkeypatch):
    monkeypatch.setattr("gankit.sampling.benchmark.missing_onnx", lambda: "onnx is not installed; run pip")
    monkeypatch.setattr("gankit.sampling.benchmark.shutil.which", lambda name: None)
    sampler = Sampler.load(wide, "cpu")
    sampler.generator.train()
    state = torch.get_rng_state()
    speed = benchmark(sampler, (1, 5), seconds=0.01)
    assert [(row.backend, row.batch) for row in speed.rows] == [("eager", 1), ("eager", 5)]
    assert all(0 < row.median <= row.p95 for row in speed.rows)
    assert speed.rows[1].images_per_second == pytest.approx(5 / speed.rows[1].median)
    assert speed.left_out == [
        "compiled: left out, torch.compile needs a C++ compiler, and none is installed; install g++",
        "onnx: left out, onnx is not installed; run pip",
    ]
    assert sampler.generator.training
    assert torch.get_rng_state().equal(state)


def test_compiled_generator_is_timed_or_left_out_with_its_error(wide, monkeypatch):
    def broken(*inputs):
        raise RuntimeError("no\n  kernel")

    sampler = Sampler.load(wide, "cpu")
    monkeypatch.setattr("gankit.sampling.benchmark.shutil.which", lambda name: name)
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: network)
    rows = benchmark(sampler, (2,), ("eager", "compiled"), seconds=0.01).rows
    assert [(row.backend, row.batch) for row in rows] == [("eager", 2), ("compiled", 2)]
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: broken)
    speed = benchmark(sampler, (2,), ("compiled",), seconds=0.01)
    assert speed.rows == []
    assert speed.left_out == ["compiled: left out, torch.compile cannot compile the generator: RuntimeError: no kernel"]


def test_generator_that_cannot_be_pruned_is_refused(shelf, toy_run, tmp_path):
    @shelf.add
    class Single(Plugin):
        """One linear layer."""

        name, kind = "single", "generator"

        class Config(Settings):
            pass

        @hookimpl
        def build_generator(self, spec):
            return Flat()

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 64)

        def forward(self, z, condition):
            return self.layer(z).view(-1, 1, 8, 8).tanh()

    run = toy_run(generator={"use": "Single"}, data={"classes": 0})
    save_generator(run, tmp_path / "flat.safetensors")
    with pytest.raises(
        InputError, match=r"flat\.safetensors: the network Flat has no channels that can be removed: its layers"
    ):
        compress(tmp_path / "flat.safetensors", tmp_path / "x.safetensors", share=0.5, **FAST)
    assert not (tmp_path / "x.safetensors").exists()


def test_ensemble_is_refused(wide, tmp_path):
    """The file of an ensemble has the tensors of several networks, so one network cannot be stored in its place."""
    merge([wide, wide], tmp_path / "both.safetensors", ensemble=True)
    for how in ({"int8": True}, {"share": 0.5}, {"overrides": ["generator.width=3"]}):
        with pytest.raises(InputError, match=r"both\.safetensors: is an ensemble; compress its generators"):
            compress(tmp_path / "both.safetensors", tmp_path / "x.safetensors", **how, **FAST)
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "choose how to compress it"),
        ({"overrides": ["generator.width=3"], "share": 0.5}, "--prune: cannot be combined with generator.width=3"),
        ({"share": 1.0}, "--prune 1: give a share"),
        ({"share": 0.0}, "--prune 0: give a share"),
        ({"share": float("nan")}, "--prune nan: give a share"),
        ({"share": 0.995}, "only 9"),
        ({"overrides": ["generator.width=3"], "iterations": 0}, "--iterations 0"),
        ({"overrides": ["generator.width=0"]}, "generator.width"),
        ({"overrides": ["data.count=3"]}, "data.count: is not a setting of a plugin that acts"),
        ({"int8": True, "out": "x.pt"}, "--out x.pt: choose the name of a file"),
        ({"int8": True, "out": "wide.safetensors"}, "is the generator itself"),
        ({"int8": True, "path": "none.safetensors"}, "there is no generator file"),
    ],
)
def test_refused_arguments(wide, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = wide.read_bytes()
    with pytest.raises(InputError, match=message):
        compress(**{"path": "wide.safetensors", "out": "x.safetensors", "iterations": 5, "device": "cpu"} | arguments)
    assert wide.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".safetensors"] == ["wide.safetensors"]


def test_damaged_weights_are_an_error_without_a_file(wide, tmp_path):
    card, tensors = read_generator_file(wide)
    tensors["paint.bias"][0] = float("nan")
    wide.write_bytes(tensors_to_bytes(tensors, card))
    with pytest.raises(GankitError, match="the loss is nan after 10 steps; no file is written"):
        compress(wide, tmp_path / "x.safetensors", ["generator.width=3"], **FAST)
    assert not (tmp_path / "x.safetensors").exists()


def test_facts_in_the_file_are_json(wide, tmp_path):
    compress(wide, tmp_path / "x.safetensors", share=0.3, int8=True, iterations=2, device="cpu")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        card = json.loads(file.metadata()["gankit"])
    (facts,) = card["compression"]
    assert {name: facts[name] for name in ("pruned_share", "int8", "iterations", "seed")} == {
        "pruned_share": 0.3,
        "int8": True,
        "iterations": 2,
        "seed": 0,
    }
    assert samples(tmp_path / "x.safetensors").isfinite().all()
