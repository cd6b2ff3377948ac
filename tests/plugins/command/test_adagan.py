"""Tests of AdaGAN: its equations against independent computations, and its studies, resumed and refused."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from gankit import ClassCondition, Dataset, InputError, Recipe, Rows, Sampler, read_prepared, train
from gankit.testing.checks import check_command, check_documentation
from gankit_plugins.command import adagan_study
from gankit_plugins.command.adagan import AdaGan, command, parsed_beta
from gankit_plugins.command.adagan_study import Settings, draw_mixture, resampled
from gankit_plugins.command.mixture_discriminator import (
    as_floats,
    build_discriminator,
    logits_of,
    rounded_like,
    train_discriminator,
)
from gankit_plugins.command.reweighting import (
    data_weights,
    density_ratio,
    effective_size,
    mixture_shares,
    weight_level,
    weighted_rows,
)

POINTS = """
name = "points"
[train]
iterations = 20
batch_size = 8
device = "cpu"
[output]
log_every = 5
sample_every = 20
checkpoint_every = 5
sample_count = 6
[evaluation]
count = 40
[data]
use = "gaussian_ring"
count = 60
std = 0.05
[latent]
use = "normal"
size = 2
[generator]
use = "mlp"
hidden = [8]
[discriminator]
use = "mlp"
hidden = [8]
"""
SHORT = ("--discriminator-steps", "20")


# Equations


def naive_level(h, beta):
    """Return lambda* by bisection of the sum of the weights."""
    low, high = 0.0, (1 - beta) * max(h) + len(h) * beta + 1
    for _ in range(200):
        middle = (low + high) / 2
        total = sum(max(0.0, middle - (1 - beta) * one) for one in h) / (len(h) * beta)
        low, high = (middle, high) if total < 1 else (low, middle)
    return low


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("beta", [0.01, 0.2, 0.5, 0.9])
def test_level_is_that_of_a_naive_search(seed, beta):
    h = (2 * torch.randn(17 + seed, generator=torch.Generator().manual_seed(seed))).exp()
    level = naive_level(h.tolist(), beta)
    assert weight_level(h, beta).item() == pytest.approx(level, rel=1e-6)
    weights = data_weights(h, beta)
    expected = [max(0.0, level - (1 - beta) * one) / (len(h) * beta) for one in h.tolist()]
    assert weights.tolist() == pytest.approx(expected, abs=1e-7)
    assert weights.sum().item() == pytest.approx(1)


def test_equal_ratios_give_equal_weights():
    assert weight_level(torch.full((5,), 3.0), 0.25).item() == pytest.approx(0.25 + 0.75 * 3)
    assert data_weights(torch.full((5,), 3.0), 0.25).tolist() == pytest.approx([0.2] * 5)


def test_a_row_that_the_mixture_never_generates_gets_all_weight_if_the_others_are_common():
    h = torch.tensor([2.0, 2.0, 0.0, 2.0])
    # With one positive weight, lambda* = N beta = 0.4, below (1 - beta) 2.
    assert weight_level(h, 0.1).item() == pytest.approx(0.4)
    assert data_weights(h, 0.1).tolist() == [0, 0, 1, 0]


def test_beta_of_one_ignores_the_mixture():
    assert data_weights(torch.tensor([0.0, 1.0, 1e9]), 1.0).tolist() == pytest.approx([1 / 3] * 3)


def test_one_row_has_the_weight_one():
    assert data_weights(torch.tensor([7.0]), 0.5).tolist() == [1]


def test_very_large_ratios_give_finite_weights():
    weights = data_weights(density_ratio(torch.tensor([-500.0, -400.0, 2.0])), 0.5)
    assert weights.tolist() == [0, 0, 1]
    assert data_weights(density_ratio(torch.tensor([-500.0, -500.0])), 0.5).tolist() == [0.5, 0.5]


def test_weights_complete_the_mixture_to_the_data():
    # The mixture has the density p on three values, and the data have 1/3 each. If (1 - beta) p <= 1/3 everywhere,
    # then (1 - beta) p + beta q is exactly the density of the data.
    p, beta = torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64), 0.4
    q = data_weights(3 * p, beta)
    assert ((1 - beta) * p + beta * q).tolist() == pytest.approx([1 / 3] * 3)


def test_effective_size():
    assert effective_size(torch.full((5,), 0.2)) == pytest.approx(5)
    assert effective_size(torch.tensor([0.0, 1.0, 0.0])) == 1
    assert effective_size(torch.tensor([0.25, 0.25, 0.5])) == pytest.approx(1 / 0.375)


def test_density_ratio_is_that_of_the_probability():
    d = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    assert density_ratio(d.logit()).tolist() == pytest.approx(((1 - d) / d).tolist())


def test_shares():
    assert mixture_shares([]) == []
    assert mixture_shares([1 / t for t in range(1, 6)]) == pytest.approx([0.2] * 5)
    assert mixture_shares([1, 0.3, 0.3]) == pytest.approx([0.49, 0.21, 0.3])


def test_rows_are_drawn_by_weight():
    weights = torch.tensor([0.0, 0.2, 0.0, 0.8, 0.0])
    rows = weighted_rows(weights, 10_000, seed=3)
    assert (
        rows.tolist() == weighted_rows(weights, 10_000, seed=3).tolist() != weighted_rows(weights, 10_000, 4).tolist()
    )
    counts = rows.bincount(minlength=5)
    assert counts[[0, 2, 4]].tolist() == [0, 0, 0]
    assert counts[1].item() == pytest.approx(2000, abs=150)


# Discriminator


def test_discriminator_estimates_the_density_ratio():
    modes = torch.tensor([[-0.5, 0.5], [0.5, -0.5]])

    def points(first, seed):
        random = torch.Generator().manual_seed(seed)
        one = (torch.rand(4000, generator=random) >= first).long()
        return (modes[one] + 0.02 * torch.randn(4000, 2, generator=random)).view(-1, 2, 1, 1), one

    real, which = points(0.5, 0)
    fake, _ = points(0.9, 1)
    state = torch.get_rng_state()
    network = train_discriminator(real, fake, 400, seed=0)
    assert torch.equal(state, torch.get_rng_state())
    h = density_ratio(logits_of(network, real))
    assert h[which == 0].mean().item() == pytest.approx(1.8, abs=0.3)
    assert h[which == 1].mean().item() == pytest.approx(0.2, abs=0.1)
    again = train_discriminator(real, fake, 400, seed=0)
    assert torch.equal(logits_of(network, real), logits_of(again, real))


@pytest.mark.parametrize(
    ("shape", "convolutions"),
    [((2, 1, 1), 0), ((7,), 0), ((1, 50), 0), ((3, 2, 8, 8), 0), ((1, 28, 28), 3), ((3, 64, 40), 3), ((4, 8, 8), 1)],
)
def test_discriminator_takes_all_shapes(shape, convolutions):
    network = build_discriminator(shape)
    assert network(torch.zeros(2, *shape)).shape == (2, 1)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network) == convolutions


def test_generated_samples_are_rounded_like_the_data():
    samples = torch.linspace(-1.1, 1.1, 1001)
    for dtype, values in ((torch.uint8, 255), (torch.uint16, 65535)):
        every = as_floats(torch.arange(values + 1).to(dtype))
        rounded = rounded_like(samples, dtype)
        assert torch.isin(rounded, every).all()
        assert (rounded - samples.clamp(-1, 1)).abs().max() <= 1.01 / values
    assert torch.equal(rounded_like(samples, torch.float32), samples)


# Mixture


def test_resampled_dataset_has_the_chosen_rows():
    rows = Rows(
        torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1),
        torch.tensor([0, 1, 0, 1, 1]),
        {"weight": torch.arange(5.0)},
    )
    dataset = Dataset(
        (1, 1, 1),
        ClassCondition(("a", "b")),
        lambda: tuple(rows),
        note="cropped",
        fields=("weight",),
        encoding={"a": 1},
    )
    new = resampled(dataset, rows, torch.tensor([1, 1, 4]))
    for read in (new.read(), next(iter(new.read_chunks()))):
        assert read.images.flatten().tolist() == [1, 1, 4]
        assert read.condition.tolist() == [1, 1, 1]
        assert read.fields["weight"].tolist() == [1, 1, 4]
    assert (new.condition, new.note, new.at_most, new.encoding) == (dataset.condition, "cropped", 3, {"a": 1})


def test_mixture_has_the_shares_of_its_generators():
    class Constant:
        def __init__(self, value):
            self.value = value

        def draw(self, count, seed):
            return Rows(torch.full((count, 1), self.value), torch.full((count,), int(self.value)))

    mixture = draw_mixture([Constant(0.0), Constant(1.0), Constant(2.0)], [0.7, 0.0, 0.3], 1000, seed=0)
    counts = mixture.images.flatten().long().bincount(minlength=3)
    assert counts[1] == 0
    assert counts[0].item() == pytest.approx(700, abs=50)
    assert torch.equal(mixture.condition, mixture.images.flatten().long())


# Studies


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.toml"
    path.write_text(POINTS)
    return path


def adagan(*arguments):
    """Run the command in this process, and return its output. Errors are raised."""
    result = CliRunner().invoke(command, [str(one) for one in (*arguments, *SHORT)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def results(out, steps):
    """Return the bytes of all files that are the result of a study."""
    names = [f"step_{t}/generator.safetensors" for t in range(1, steps + 1)]
    names += [f"data_{t}.safetensors" for t in range(2, steps + 1)]
    return {name: (out / name).read_bytes() for name in (*names, "adagan.json", "samples.png")}


def test_plugin_passes_its_checks():
    check_documentation(AdaGan)
    check_command(AdaGan)


def test_study_of_points(points, tmp_path):
    out = tmp_path / "study"
    output = adagan(points, "--steps", 3, "--out", out, "seed=5")
    assert "mixture: modes" in output
    record = json.loads((out / "adagan.json").read_text())
    assert record["shares"] == pytest.approx([1 / 3] * 3)
    assert [step["beta"] for step in record["steps"]] == pytest.approx([1, 1 / 2, 1 / 3])
    assert all(step[part].keys() == {"modes", "good"} for step in record["steps"] for part in ("metrics", "mixture"))
    assert record["steps"][0]["metrics"] == record["steps"][0]["mixture"]
    picture = Image.open(out / "samples.png")
    assert picture.width == 4 * 256 + 3 * adagan_study.GAP
    # Step 1 is the run of the recipe.
    alone = train(Recipe.load(points, ["seed=5"]), tmp_path / "alone")
    assert alone.generator_file.read_bytes() == (out / "step_1" / "generator.safetensors").read_bytes()
    # The other steps have their own seeds and data, of as many rows.
    seeds = [Sampler.load(out / f"step_{t}" / "generator.safetensors").card["recipe"]["seed"] for t in (1, 2, 3)]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3
    drawn = read_prepared(out / "data_2.safetensors").read().images
    assert (drawn.shape, drawn.dtype) == ((60, 2, 1, 1), torch.float32)


def test_given_beta_and_more_steps(points, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    adagan(points, "--steps", 3, "--beta", 0.3, "--out", once)
    assert json.loads((once / "adagan.json").read_text())["shares"] == pytest.approx([0.49, 0.21, 0.3])
    first = results(once, 3)
    once.rename(twice)
    adagan(points, "--steps", 2, "--beta", 0.3, "--out", once)
    adagan(points, "--steps", 3, "--beta", 0.3, "--out", once)
    assert results(once, 3) == first
    # A complete study is only shown again.
    adagan(points, "--steps", 3, "--beta", 0.3, "--out", once)
    assert results(once, 3) == first


def test_study_of_images_with_classes(plain_recipe, tmp_path):
    recipe = plain_recipe() | {"evaluation": {"count": 8}, "extractor": {"use": "pixels"}}
    recipe["metrics"] = {"frechet_distance": {}}
    path = tmp_path / "shapes.toml"
    path.write_text(Recipe.from_dict(recipe).to_toml())
    out = tmp_path / "study"
    adagan(path, "--steps", 2, "--out", out)
    dataset = read_prepared(out / "data_2.safetensors")
    rows = dataset.read()
    assert dataset.class_names == ("circle", "ring")
    assert (rows.images.shape, rows.images.dtype) == ((12, 3, 8, 8), torch.uint8)
    sampler = Sampler.load(out / "step_2" / "generator.safetensors")
    assert sampler.class_names == ("circle", "ring")
    record = json.loads((out / "adagan.json").read_text())
    assert record["steps"][1]["mixture"].keys() == {"frechet_distance"}
    assert Image.open(out / "samples.png").width > 12 * 64


class StopError(Exception):
    pass


@pytest.mark.parametrize("place", ["train", "prepare", "write_bytes"])
def test_study_that_fails_at_any_place_is_resumed(points, tmp_path, monkeypatch, place):
    out, whole = tmp_path / "study", tmp_path / "whole"
    adagan(points, "--steps", 2, "--out", out)
    expected = results(out, 2)
    out.rename(whole)
    calls, function = [], getattr(adagan_study, place)

    def failing(*arguments):
        calls.append(place)
        # `train` is interrupted in step 2, `prepare` at once, `write_bytes` when step 1 is recorded.
        if len(calls) == {"train": 2, "prepare": 1, "write_bytes": 2}[place]:
            raise StopError
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(adagan_study, place, failing)
        with pytest.raises(StopError):
            adagan(points, "--steps", 2, "--out", out)
    adagan(points, "--steps", 2, "--out", out)
    assert results(out, 2) == expected


def test_interrupted_study_says_how_to_continue(points, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(adagan_study, "train", interrupted)
    result = CliRunner().invoke(command, [str(points), "--out", str(tmp_path / "study")])
    assert result.exit_code != 0
    assert "repeat the command to resume the study" in result.output


def test_killed_study_ends_with_the_same_bytes(points, tmp_path):
    out, whole = tmp_path / "study", tmp_path / "whole"
    arguments = [points, "--steps", "3", "--out", out, "train.iterations=60"]
    adagan(*arguments)
    expected = results(out, 3)
    out.rename(whole)
    code = "from gankit_plugins.command.adagan import command; command()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments), *SHORT], stdout=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("step_2/checkpoints/000*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "step_3").exists()
    assert "resuming" in adagan(*arguments)
    assert results(out, 3) == expected


def test_moved_study_is_resumed(points, tmp_path, monkeypatch):
    out, moved = tmp_path / "study", tmp_path / "moved"
    monkeypatch.setattr(adagan_study.Study, "measured", lambda self, step: (_ for _ in ()).throw(StopError))
    with pytest.raises(StopError):
        adagan(points, "--steps", 2, "--out", out)
    monkeypatch.undo()
    out.rename(moved)
    adagan(points, "--steps", 2, "--out", moved)
    assert len(json.loads((moved / "adagan.json").read_text())["steps"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", 0], "--steps 0: too small"),
        (["--discriminator-steps", 0], "--discriminator-steps 0: too small"),
        (["--beta", "0"], "--beta 0: not a share"),
        (["--beta", "1"], "--beta 1: not a share"),
        (["--beta", "nan"], "--beta nan: not a share"),
        (["--beta", "half"], "--beta half: not a share"),
        (["train.class_balanced=true"], "train.class_balanced"),
        (["generator.use=none_such"], "none_such"),
        (["data.count=0"], "data.count"),
    ],
)
def test_wrong_arguments_write_nothing(points, tmp_path, arguments, message):
    out = tmp_path / "study"
    result = CliRunner().invoke(command, [str(points), "--out", str(out), *map(str, arguments)])
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not out.exists()


def test_torchrun_is_refused(points, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="without torchrun"):
        adagan(points)


def test_other_folders_are_refused(points, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no AdaGAN study"):
        adagan(points, "--out", folder)
    with pytest.raises(InputError, match="is a file"):
        adagan(points, "--out", folder / "note.txt")
    assert [one.name for one in folder.iterdir()] == ["note.txt"]
    (folder / "adagan.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        adagan(points, "--out", folder)


def test_another_study_is_refused(points, tmp_path):
    out = tmp_path / "study"
    adagan(points, "--steps", 2, "--out", out)
    before = results(out, 2)
    for arguments, message in (
        (["train.batch_size=4"], "train.batch_size is 8 in the study and 4 now"),
        (["tricks.r1.gamma=1"], "tricks.r1.* is missing in the study"),
        (["--beta", "0.5"], 'beta is "uniform" in the study and 0.5 now'),
        (["--steps", "1"], "the study in .* has 2 steps; give 2 or more"),
    ):
        with pytest.raises(InputError, match=message):
            adagan(points, "--steps", 2, "--out", out, *arguments)
    assert results(out, 2) == before


def test_beta():
    assert parsed_beta("uniform") is None
    assert parsed_beta("0.25") == 0.25
    settings = Settings(None, None, 1), Settings(None, 0.25, 1)
    assert [one.beta_of(step) for one in settings for step in (1, 4)] == [1, 0.25, 1, 0.25]
