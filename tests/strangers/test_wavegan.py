"""Tests of WaveGAN."""

import math

import pytest
import torch
from wavegan import PhaseShuffle, PitchError, Sounds, WaveDiscriminator, WaveGenerator, pitch, shifted, sounds

from gankit.testing import check_plugin, tiny_run

SETTINGS = {"count": 24, "length": 64, "pitch": 4.0, "spread": 1.0}
DATA = {"data": {"use": "./wavegan.py:Sounds", **SETTINGS}}
GENERATOR = {"generator": {"use": "./wavegan.py:WaveGenerator", "width": 2}}
DISCRIMINATOR = {"discriminator": {"use": "./wavegan.py:WaveDiscriminator", "width": 2}}


def test_sounds_are_the_formula():
    """x(t) against the phase as a sum of small steps of the frequency, f for a tone and f (1 + 2 t) for a chirp."""
    x, labels = sounds(6, 64, 4.0, 1.0, seed=3)
    f, a, phi = torch.rand(3, 6, 1, generator=torch.Generator().manual_seed(3))
    for n in range(6):
        start = 4.0 + 1.0 * (2 * f[n].item() - 1)
        for i in range(64):
            steps = 200  # midpoint rule, exact for a linear frequency
            cycles = sum(
                start * (1 + (2 * (k + 0.5) / steps * i / 64 if labels[n] else 0)) * i / 64 / steps
                for k in range(steps)
            )
            expected = (0.5 + 0.5 * a[n].item()) * math.sin(2 * math.pi * (cycles + phi[n].item()))
            assert abs(x[n, 0, i].item() - expected) < 1e-4


@pytest.mark.parametrize("shift", [-3, -1, 0, 2])
def test_phase_shuffle_is_a_naive_loop(shift):
    x = torch.randn(2, 3, 7)
    y = shifted(x, torch.tensor([shift, 0]))
    for i in range(7):
        source = i - shift
        source = -source if source < 0 else 2 * 6 - source if source > 6 else source
        assert torch.equal(y[0, :, i], x[0, :, source])
    assert torch.equal(y[1], x[1])


def test_phase_shuffle_moves_at_most_n():
    x = torch.arange(16.0).view(1, 1, 16).expand(200, 1, 16)
    moved = 8 - PhaseShuffle(2)(x)[:, 0, 8]
    assert set(moved.tolist()) == {-2, -1, 0, 1, 2}


def test_pitch_of_a_sine_is_its_frequency():
    t = torch.arange(128) / 128
    assert pitch((2 * math.pi * 9 * t).sin().view(1, 1, -1)).item() == pytest.approx(9)


def test_lengths_of_the_networks():
    run = tiny_run({Sounds: SETTINGS | {"length": 256}, WaveGenerator: {}, WaveDiscriminator: {}})
    x = run.generator(torch.randn(4, run.spec.latent_size), torch.tensor([0, 1, 0, 1]))
    assert x.shape == (4, 1, 256)
    assert run.discriminator(x, None).logits.shape == (4,)


def test_data():
    check_plugin(Sounds, SETTINGS, classes=(2,), stand_in=False)


@pytest.mark.parametrize("network", [WaveGenerator, WaveDiscriminator])
def test_networks(network):
    check_plugin(network, {"width": 2}, DATA, classes=(2,), stand_in=False)


def test_metric():
    check_plugin(PitchError, None, DATA | GENERATOR | DISCRIMINATOR, classes=(2,))


def test_kill_and_resume_and_sample(killed_run_equals_whole_run, samples_twice):
    small = ["data.count=64", "train.iterations=30", "output.checkpoint_every=10", "train.batch_size=8"]
    samples_twice(killed_run_equals_whole_run("wavegan.toml", *small))
