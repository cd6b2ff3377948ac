"""WaveGAN: sizes of the networks, condition, phase shuffle, features and pitch error; a run with kill and resume."""

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import wave

import pytest
import torch

from gankit import ClassCondition, Comparison, Dataset, InputError, Recipe, Sampler, Spec, VectorCondition, find_recipe
from gankit.cli import run_command_line
from gankit.plugin.comparison import Samples
from gankit_plugins.discriminator.wavegan import Wavegan as Discriminator
from gankit_plugins.extractor import spectrogram
from gankit_plugins.extractor.spectrogram import Spectrogram, band_edges, loudness
from gankit_plugins.generator.wavegan import Wavegan as Generator
from gankit_plugins.metric.pitch_error import PitchError
from gankit_plugins.trick.phase_shuffle import PhaseShuffle, shifted, shuffled


def networks(shape, width, condition=None, latent_size=100):
    spec = Spec(shape, condition, latent_size=latent_size)
    return (
        Generator(Generator.Config(width=width)).build_generator(spec),
        Discriminator(Discriminator.Config(width=width)).build_discriminator(spec),
    )


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_networks_of_the_paper():
    """Weights of tables 3 and 4 (d = 64, c = 1), computed by hand from the sizes of the filters."""
    with torch.device("meta"):
        generator, discriminator = networks((1, 16384), 64)
        sizes = []
        for network in (generator.start, *generator.body, *discriminator.body):
            network.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[1:])))
        sound = generator(torch.empty(2, 100), None)
        output = discriminator(sound, None)
    channels = (1024, 512, 256, 128, 64)
    filters = sum(25 * a * b for a, b in itertools.pairwise(channels))
    assert count(generator) == 100 * 16384 + 16384 + filters + sum(channels[1:]) + 25 * 64 + 1
    assert count(discriminator) == 25 * 64 + filters + sum(channels) + 16384 + 1
    up = [(1024, 16), (512, 64), (256, 256), (128, 1024), (64, 4096)]
    assert sizes == [*up, *reversed(up)]
    assert (sound.shape, output.logits.shape, output.features.shape) == ((2, 1, 16384), (2,), (2, 16384))


@pytest.mark.parametrize(("length", "start", "layers"), [(64, 16, 1), (1024, 16, 3), (8192, 8, 5), (65536, 16, 6)])
def test_other_lengths(length, start, layers):
    with torch.device("meta"):
        generator, _ = networks((2, length), 2)
        assert len(generator.body) + 1 == layers
        assert generator.start[1].unflattened_size == (2 * 2 ** (layers - 1), start)
        assert generator(torch.empty(3, 100), None).shape == (3, 2, length)


@pytest.mark.parametrize("shape", [(1, 16000), (1, 12), (1, 16), (1, 8, 8)])
def test_unsuitable_shapes_are_refused(shape):
    for plugin in (Generator, Discriminator):
        with pytest.raises(InputError, match="wavegan"):
            getattr(plugin(plugin.Config()), f"build_{plugin.kind}")(Spec(shape))


def test_classes_and_numbers_are_inputs_of_both_networks():
    condition = VectorCondition(("pitch", "loudness"))
    generator, discriminator = networks((1, 64), 2, condition, latent_size=3)
    z, c = torch.randn(2, 3), torch.tensor([[0.1, -1.0], [0.5, 0.3]])
    assert generator.start[0].in_features == 5
    same = generator.to_sound(generator.body(generator.start(torch.cat([z, c], 1))))
    assert torch.equal(generator(z, c), same)
    sound = torch.randn(2, 1, 64)
    planes = torch.cat([sound, c[:, :, None].expand(2, 2, 64)], 1)
    features = discriminator.body(planes).flatten(1)
    assert torch.equal(discriminator(sound, c).logits, discriminator.head(features).flatten())
    by_class, _ = networks((1, 64), 2, ClassCondition(("a", "b")), latent_size=3)
    labels = torch.tensor([1, 0])
    assert torch.equal(by_class(z, labels), by_class(z, torch.tensor([[0.0, 1.0], [1.0, 0.0]])))


@pytest.mark.parametrize("shift", [-3, -1, 0, 2])
def test_phase_shuffle_is_a_naive_loop(shift):
    x = torch.randn(2, 3, 7)
    y = shifted(x, torch.tensor([shift, 0]))
    for i in range(7):
        source = i - shift
        source = -source if source < 0 else 2 * 6 - source if source > 6 else source
        assert torch.equal(y[0, :, i], x[0, :, source])
    assert torch.equal(y[1], x[1])


def test_phase_shuffle_moves_the_inputs_of_all_convolutions_but_the_first():
    x = torch.arange(16.0).view(1, 1, 16).expand(200, 1, 16)
    assert set((8 - shuffled(x, 2)[:, 0, 8]).tolist()) == {-2, -1, 0, 1, 2}
    assert shuffled(x[:, :, :2], 5).shape == (200, 1, 2)
    _, discriminator = networks((1, 256), 2)
    seen = {}
    for index, layer in enumerate(discriminator.body):
        layer[0].register_forward_hook(lambda module, inputs, output, i=index: seen.update({i: inputs[0]}))
    trick = PhaseShuffle(PhaseShuffle.Config(shift=2))
    trick.wrap_network("generator", discriminator)
    names = list(discriminator.state_dict())
    trick.wrap_network("discriminator", discriminator)
    assert list(discriminator.state_dict()) == names
    sound = torch.randn(8, 1, 256)
    first = discriminator.body[0](sound)
    discriminator(sound, None)
    assert torch.equal(seen[0], sound)
    rows = [[torch.equal(row, shifted(one[None], torch.tensor([s]))[0]) for s in (-2, -1, 0, 1, 2)].count(True)
            for row, one in zip(seen[1], first, strict=True)]  # fmt: skip
    assert rows == [1] * 8
    discriminator.eval()(sound, None)
    assert torch.equal(seen[1], first)
    with pytest.raises(InputError, match="fewer than two one-dimensional convolutions"):
        trick.wrap_network("discriminator", torch.nn.Linear(2, 2))


def test_features_are_the_loudness_of_bands():
    edges = band_edges(257)
    assert (edges.diff() > 0).all()
    assert (edges[0].item(), edges[-1].item()) == (1, 257)
    t = torch.arange(2048)
    tone = (2 * torch.pi * 32 / 512 * t).sin()
    late = tone * (t >= 1536)
    values = loudness(torch.stack([tone, late, 0 * tone])[:, None]).view(3, spectrogram.BANDS, spectrogram.PARTS)
    band = int((edges[:-1] <= 32).sum()) - 1
    assert values[0].mean(1).argmax() == band
    assert values[1, band].argmax() == 3
    torch.testing.assert_close(values[2], torch.full_like(values[2], 1e-3).log())


def test_classes_are_recognised_from_the_features(monkeypatch, tmp_path):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path))
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 2
    f = torch.where(labels == 0, 300, 900) + 40 * torch.rand(300, generator=random)
    sounds = (2 * torch.pi * f[:, None] * torch.arange(1024) / 8000).sin()[:, None]
    dataset = Dataset((1, 1024), ClassCondition(("low", "high")), lambda: (sounds, labels))
    extractor = Spectrogram(Spectrogram.Config()).build_extractor(dataset, torch.device("cpu"))
    assert (extractor(sounds).logits.argmax(1) == labels).double().mean() > 0.99
    assert extractor.facts["class accuracy"] > 0.95
    with pytest.raises(InputError, match="at least 512 samples"):
        Spectrogram(Spectrogram.Config()).build_extractor(Dataset((1, 100), None, None), torch.device("cpu"))


def test_pitch_error_in_semitones():
    t = torch.arange(4096) / 8000
    notes = torch.tensor([57.0, 60.0, 69.0, 72.0])
    played = notes + torch.tensor([0.0, 0.3, -2.0, 12.0])
    sounds = (2 * torch.pi * 440 * 2 ** ((played[:, None] - 69) / 12) * t).sin()[:, None]
    condition = VectorCondition(("kind=a", "pitch"), ((0, 1), (50, 80)))
    rows = condition.scaled(torch.stack([torch.ones(4), notes], 1))
    real = Samples(sounds, rows, condition, {"sample_rate": 8000})
    comparison = Comparison(real, Samples(sounds, rows, condition), None, {})
    result = PitchError(PitchError.Config()).compute_metrics(comparison)
    assert result["pitch_error"] == pytest.approx(0.3, abs=0.02)  # the lower median of 0, 0.3, 2 and 12
    assert result["pitch_hits"] == 0.5
    in_hz = VectorCondition(("f",))
    frequencies = 440 * 2 ** ((notes[:, None] - 69) / 12)
    hz = Comparison(real, Samples(sounds, frequencies, in_hz), None, {})
    metric = PitchError(PitchError.Config(attribute="f", unit="hz"))
    assert metric.compute_metrics(hz)["pitch_error"] == pytest.approx(0.3, abs=0.02)
    with pytest.raises(InputError, match="the condition has no 'pitch', but f; set attribute"):
        PitchError(PitchError.Config()).compute_metrics(hz)
    assert metric.compute_metrics(Comparison(Samples(sounds), Samples(sounds), None, {})) is None


def test_settings_of_the_paper_equal_the_header():
    recipe = Recipe.load(find_recipe("wavegan_paper"), ["data.path=recordings"])
    settings = {key: component.config.model_dump() for key, component in recipe.components.items()}
    assert (recipe.train.batch_size, recipe.train.discriminator_steps, recipe.train.iterations) == (64, 5, 200_000)
    for player in ("generator", "discriminator"):
        assert settings[player] == {"width": 64}
        adam = settings[f"optimizer.{player}"]
        assert (adam["lr"], adam["betas"]) == (1e-4, (0.5, 0.9))
        assert recipe.use_of(f"normalization.{player}") == "none"
    assert (recipe.use_of("latent"), settings["latent"]["size"], recipe.use_of("loss")) == (
        "uniform",
        100,
        "wasserstein",
    )
    assert settings["tricks.gradient_penalty"]["weight"] == 10
    assert settings["tricks.phase_shuffle"] == {"shift": 2}
    assert (settings["data"]["sample_rate"], settings["data"]["length"]) == (16_000, 16_384)


SMALL = ["data.count=48", "data.length=1024", "generator.width=2", "discriminator.width=2", "latent.size=4"]
SMALL += ["train.iterations=24", "train.batch_size=8", "train.device=cpu", "train.precision=fp32"]
SMALL += ["output.checkpoint_every=8", "output.sample_every=8", "output.sample_count=9", "evaluation.count=32"]


def gankit(*arguments):
    assert run_command_line([*map(str, arguments)]) == 0


def test_kill_resume_sample_and_report(tmp_path, capsys):
    """Compare a run that is killed with one that is not. Then sample from a copy of the generator file alone."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    gankit("run", "wavegan_sounds", "--out", whole, "--quiet", *SMALL)
    command = [sys.executable, "-m", "gankit", "run", "wavegan_sounds", "--out", killed, "--quiet", *SMALL]
    process = subprocess.Popen(command)
    try:
        while not any(re.fullmatch(r"\d+", path.name) for path in killed.glob("checkpoints/*")):
            assert process.poll() is None, "the run ended before its first checkpoint"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    gankit("resume", killed, "--quiet")
    files = [path.relative_to(whole) for path in sorted(whole.glob("samples/*/*.wav"))]
    assert len(files) == 3 * 8
    for name in ("generator.safetensors", "samples/000024.png", *files):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    report = (whole / "report.html").read_text()
    assert report.count("<audio ") == 24
    metrics = [row["metrics"] for row in map(json.loads, (whole / "log.jsonl").open()) if "metrics" in row]
    assert set(metrics[-1]) == {"pitch_error", "pitch_hits", "frechet_distance"}

    alone = tmp_path / "elsewhere" / "generator.safetensors"
    alone.parent.mkdir()
    shutil.copy(whole / "generator.safetensors", alone)
    shutil.rmtree(killed)
    out = tmp_path / "drums"
    gankit("sample", alone, "--out", out, "--count", 3, "--set", "kind=drum", "--set", "pitch=60")
    with wave.open(str(out / "000002.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 4000, 1024)
    gankit("sample", alone, "--out", tmp_path / "lines.png", "--interpolate", "--count", 9)
    gankit("directions", alone, "--out", tmp_path, "--samples", 5, "--count", 2, "--steps", 3)
    sampler = Sampler.load(alone)
    assert sampler.conditions(1, {"kind": "drum", "pitch": 60})[0].tolist() == [0, -1, -1, 1]
    assert "[" not in capsys.readouterr().err
