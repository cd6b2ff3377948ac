"""Drawn sounds: the formulas, the pitch and the condition. Pictures and files of sounds."""

import math

import pytest
import torch
from pydantic import ValidationError

from gankit import ClassCondition, Spec
from gankit.testing import check_dataset
from gankit_plugins.data.spectrogram import decibels, spectrograms
from gankit_plugins.data.tones import Tones, chirp, drum, tone
from gankit_plugins.data.wav import read_wav
from gankit_plugins.layers.sounds import frequency_of, loudest_frequency, magnitudes

RATE = 8000


def build(**settings):
    return Tones(Tones.Config(**{"count": 30, "length": 2048} | settings))


def test_chirp_is_the_sum_of_small_steps_of_its_frequency():
    t = torch.arange(64) / 640
    sound = chirp(t, torch.tensor([[20.0]]), torch.tensor([[0.1]]), t[None])[0]
    steps = 400  # midpoint rule
    for i in (0, 1, 40, 63):
        moments = [(k + 0.5) / steps * i / 640 for k in range(steps)]
        cycles = sum(20 * 2 ** (moment / 0.1 - 0.5) for moment in moments) * i / 640 / steps
        assert sound[i].item() == pytest.approx(math.sin(2 * math.pi * (cycles + 0.1)), abs=1e-4)


def test_tone_and_drum_are_their_formulas():
    t, f, phase = torch.arange(50) / 500, torch.tensor([[30.0]]), torch.tensor([[0.25]])
    noise = torch.rand(1, 50) * 2 - 1
    sounds = tone(t, f, phase, noise)[0], drum(t, f, phase, noise)[0]
    for i in (0, 7, 49):
        angle = 2 * math.pi * (30 * i / 500 + 0.25)
        expected = sum(math.sin(k * angle) / k for k in (1, 2, 3, 4)) / 1.6
        assert sounds[0][i].item() == pytest.approx(expected, abs=1e-5)
        beat = 0.8 * math.exp(-4 * i / 50) * math.sin(angle) + math.exp(-60 * i / 50) * noise[0, i].item()
        assert sounds[1][i].item() == pytest.approx(beat, abs=1e-5)


def test_the_condition_is_the_kind_and_the_pitch():
    data = build().load_data()
    check_dataset(data)
    sounds, condition = data.read()[:2]
    assert dict(data.encoding) == {"sample_rate": RATE}
    assert data.condition.names == ("pitch", "kind=tone", "kind=chirp", "kind=drum")
    assert (condition[:, 1:].argmax(1) == torch.arange(30) % 3).all()
    note = 55 + (condition[:, 0] + 1) / 2 * 24
    measured = loudest_frequency(sounds, RATE)
    assert (12 * (measured / frequency_of(note)).log2()).abs().max() < 0.3  # semitones


def test_the_condition_may_be_the_kind_alone():
    data = build(condition="kind", kinds=("drum", "tone")).load_data()
    assert data.condition == ClassCondition(("drum", "tone"))
    assert data.read().condition.tolist() == [0, 1] * 15
    assert not torch.equal(data.read().images, build(condition="kind", kinds=("drum", "tone"), seed=1).draw_all()[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pitch": [70, 60]}, "pitch: give a low and a higher"),
        ({"pitch": [60, 90]}, "four times the highest frequency"),
        ({"kinds": ["tone", "tone"]}, "kinds: each kind"),
    ],
)
def test_wrong_settings_are_sentences(settings, message):
    with pytest.raises(ValidationError, match=message):
        build(**settings)


def test_notes_are_frequencies():
    torch.testing.assert_close(frequency_of(torch.tensor([69.0, 81.0, 60.0])), torch.tensor([440.0, 880.0, 261.6256]))


def test_the_loudest_frequency_of_sines_is_exact():
    f = torch.tensor([203.7, 440.0, 1234.5, 3900.0])
    t = torch.arange(2048) / RATE
    sounds = (2 * math.pi * f[:, None] * t).sin()[:, None]
    # The second channel is quieter, and has another frequency.
    both = torch.cat([sounds, 0.2 * (2 * math.pi * 700 * t).sin().expand_as(sounds)], 1)
    for one in (sounds, both):
        assert (12 * (loudest_frequency(one, RATE) / f).log2()).abs().max() < 0.02
    assert loudest_frequency(torch.zeros(2, 1, 64), RATE).isfinite().all()


def test_magnitudes_are_those_of_a_naive_transform():
    x = torch.randn(2, 1, 64, dtype=torch.float64)
    result = magnitudes(x, 16, 8)
    assert result.shape == (2, 1, 9, 9)
    n = torch.arange(16, dtype=torch.float64)
    hann = 0.5 - 0.5 * (2 * math.pi * n / 16).cos()
    for frame, f in ((3, 2), (4, 5)):
        part = x[1, 0, frame * 8 - 8 : frame * 8 + 8] * hann
        angle = 2 * math.pi * f * n / 16
        expected = math.hypot((part * angle.cos()).sum().item(), (part * angle.sin()).sum().item())
        assert result[1, 0, f, frame].item() == pytest.approx(expected)


def test_a_spectrogram_is_dark_at_the_frequency_of_a_sine():
    t = torch.arange(2048) / RATE
    sound = (2 * math.pi * 2000 * t).sin()[None, None]  # half of the height
    levels = decibels(sound)
    assert levels.shape[2] == 129
    assert (levels[0, 0, :, 10].argmax() == 64).all()
    picture = spectrograms(sound.expand(6, 2, -1), 3, ("a", "b")).convert("L")
    column = [picture.getpixel((picture.width - 40, y)) for y in range(1, 32)]
    assert 13 <= column.index(min(column)) <= 18
    assert max(column) > 200


def test_files_have_the_sample_rate_of_the_dataset(tmp_path):
    plugin = build()
    samples = torch.linspace(-1, 1, 40).view(2, 1, 20)
    spec = Spec((1, 20), None, encoding={"sample_rate": 11025})
    paths = plugin.save_samples(samples, ["000000", "000001_x"], tmp_path, spec)
    assert [path.name for path in paths] == ["000000.wav", "000001_x.wav"]
    again, rate = read_wav(paths[1].read_bytes())
    assert rate == 11025
    torch.testing.assert_close(again, samples[1], atol=1 / 20000, rtol=0)
