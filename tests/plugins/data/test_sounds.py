"""Sounds of a user: WAV files of all kinds, resampling, and the plugin `sounds`."""

import math
import struct
import wave
import zipfile

import pytest
import torch

from gankit import InputError
from gankit.data.prepared import prepare
from gankit.testing import check_dataset
from gankit_plugins.data.resample import resample
from gankit_plugins.data.sounds import Sounds
from gankit_plugins.data.wav import SoundError, read_wav, write_wav

RAMP = [-1.0, -0.5, 0.0, 0.25, 0.5, 0.75]


def riff(code, channels, rate, bits, content, extensible=False, before=b""):
    """Return a WAV file, written by hand."""
    block = channels * bits // 8
    header = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * block, block, bits)
    if extensible:
        header += struct.pack("<HHIH", 22, bits, 0, code) + b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    chunks = before + b"fmt " + struct.pack("<I", len(header)) + header
    chunks += b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def packed(bits, code):
    """Return the numbers of `RAMP` as the bytes of samples."""
    if code == 3:
        return struct.pack(f"<{len(RAMP)}{'f' if bits == 32 else 'd'}", *RAMP)
    if bits == 8:
        return bytes(round(x * 128) + 128 for x in RAMP)
    return b"".join(round(x * 2 ** (bits - 1)).to_bytes(bits // 8, "little", signed=True) for x in RAMP)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("bits", "code"), [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3)])
def test_every_kind_of_sample_is_read(bits, code, extensible):
    # A chunk of odd length is followed by a byte that does not belong to it.
    other = b"LIST" + struct.pack("<I", 3) + b"abc\x00"
    samples, rate = read_wav(riff(code, 1, 8000, bits, packed(bits, code), extensible, before=other))
    assert (samples[0].tolist(), rate) == (RAMP, 8000)
    stereo, _ = read_wav(riff(code, 2, 8000, bits, packed(bits, code), extensible))
    assert stereo.tolist() == [RAMP[::2], RAMP[1::2]]


def test_a_file_whose_end_is_missing_gives_its_samples():
    data = riff(1, 2, 8000, 16, packed(16, 1))
    assert read_wav(data[:-3]).samples.tolist() == [RAMP[::2][:2], RAMP[1::2][:2]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a WAV file"),
        (riff(1, 1, 2_000_000_000, 16, packed(16, 1)), "no valid number of channels or sample rate"),
        (b"RIFF\x00\x00\x00\x00AVI " + bytes(40), "not a WAV file"),
        (riff(1, 1, 8000, 16, b"")[:-8], "a chunk is missing"),
        (riff(1, 1, 8000, 16, b""), "contains no samples"),
        (riff(1, 0, 8000, 16, b"1234"), "number of channels"),
        (riff(1, 1, 0, 16, b"1234"), "sample rate"),
        (riff(17, 1, 8000, 8, b"1234"), "format 17 with 8 bits; save it with 16-bit integers"),
        (riff(3, 1, 8000, 32, struct.pack("<f", math.nan)), "NaN"),
    ],
)
def test_unusable_files_are_refused(data, message):
    with pytest.raises(SoundError, match=message):
        read_wav(data)


def test_a_written_file_has_sixteen_bits(tmp_path):
    samples = torch.tensor([RAMP, RAMP[::-1]]) * 1.5
    write_wav(tmp_path / "a.wav", samples, 11025)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (2, 2, 11025, len(RAMP))
    again, rate = read_wav((tmp_path / "a.wav").read_bytes())
    assert rate == 11025
    torch.testing.assert_close(again, samples.clamp(-1, 1), atol=1 / 20000, rtol=0)


def sine(frequency, rate, count):
    return torch.sin(2 * math.pi * frequency * torch.arange(count) / rate)[None]


@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (44100, 16000), (16000, 11025), (7919, 8000)])
def test_a_resampled_sine_is_a_sine(source, target):
    for share in (0.05, 0.8):
        frequency = share * min(source, target) / 2
        result = resample(sine(frequency, source, 2000), source, target)
        assert result.shape == (1, math.ceil(2000 * target / source))
        error = (result - sine(frequency, target, result.shape[1]))[0, 300:-300]
        assert error.abs().max() < 2e-3
    assert torch.equal(resample(sine(100, source, 50), source, source), sine(100, source, 50))


def test_frequencies_that_the_new_rate_cannot_have_are_removed():
    high = resample(sine(9000, 44100, 4000), 44100, 16000)
    assert high[0, 200:-200].abs().max() < 2e-3


def test_a_part_of_a_resampled_sound_is_the_same():
    x = torch.randn(2, 900, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resample(x, 3, 2, most=100), resample(x, 3, 2)[:, :100])
    assert resample(x, 3, 2, most=10_000).shape == (2, 600)


def build(path, **settings):
    return Sounds(Sounds.Config(path=path, **settings)).load_data()


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two classes: three short sounds at 16 kHz, and a long stereo sound at 8 kHz."""
    for name, samples, rate in [
        ("high/a.wav", sine(900, 16000, 100), 16000),
        ("high/b.WAV", sine(800, 16000, 64), 16000),
        ("low/c.wav", sine(100, 16000, 70), 16000),
        ("low/d.wav", torch.cat([sine(100, 8000, 100), -sine(100, 8000, 100)]), 8000),
    ]:
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(tmp_path / "sounds" / name, samples, rate)
    (tmp_path / "sounds" / "readme.txt").write_text("mine")
    return tmp_path / "sounds"


def test_a_folder_has_classes_and_sounds_of_one_length(folder, tmp_path):
    data = build(folder, length=80)
    check_dataset(data)
    sounds, labels = data.read()[:2]
    assert (data.class_names, data.contents, dict(data.encoding)) == (
        ("high", "low"),
        "4 sound files",
        {"sample_rate": 16000},
    )
    assert (tuple(sounds.shape), labels.tolist()) == ((4, 1, 80), [0, 0, 1, 1])
    close = {"atol": 1 / 16000, "rtol": 0}
    torch.testing.assert_close(sounds[0], sine(900, 16000, 80), **close)
    torch.testing.assert_close(sounds[1], torch.cat([sine(800, 16000, 64), torch.zeros(1, 16)], 1), **close)
    assert sounds[3].abs().max() == 0, "the mean of two opposite channels"
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as file:
        for path in sorted(folder.glob("*/*")):
            file.write(path, path.relative_to(folder))
    zipped = build(tmp_path / "sounds.zip", length=80).read()
    assert torch.equal(zipped.images, sounds)
    assert torch.equal(zipped.condition, labels)


def test_stereo_and_pieces_of_a_long_file(folder):
    stereo = build(folder, length=80, channels=2, sample_rate=8000).read().images
    torch.testing.assert_close(stereo[3, 1], -sine(100, 8000, 80)[0], atol=1 / 16000, rtol=0)
    assert torch.equal(stereo[0, 0], stereo[0, 1]), "a mono file is the same in both channels"
    data = build(folder, length=32, channels=2, sample_rate=8000, pieces=True)
    sounds, labels = data.read()[:2]
    # 50, 32, 35 and 100 samples at 8 kHz
    assert labels.tolist() == [0, 0, 1, 1, 1, 1]
    torch.testing.assert_close(sounds[3:, 0].flatten(), sine(100, 8000, 96)[0], atol=1 / 16000, rtol=0)


def test_a_label_file_gives_numbers_as_the_condition(folder):
    names = ["high/a.wav", "high/b.WAV", "low/c.wav", "low/d.wav"]
    (folder / "labels.csv").write_text("file,pitch\n" + "".join(f"{n},{60 + i}\n" for i, n in enumerate(names)))
    data = build(folder, length=80)
    assert (data.condition.names, data.condition.ranges) == (("pitch",), ((60.0, 63.0),))
    assert data.read().condition[:, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])


def test_a_prepared_file_keeps_the_sample_rate(folder, tmp_path):
    file = tmp_path / "prepared.safetensors"
    data = build(folder, length=80, sample_rate=8000)
    prepare(data, file, "test")
    again = build(file)
    assert (again.shape, again.class_names) == (data.shape, ("high", "low"))
    assert dict(again.encoding) == {"sample_rate": 8000}
    assert torch.equal(again.read().images, data.read().images)
    assert build(file, classes=False).read().condition is None
    with pytest.raises(InputError, match=r"length: the sounds in .* have length 80, and .* requests 90; remove"):
        build(file, length=90)


def test_mistakes_are_sentences(folder, tmp_path, capsys):
    (folder / "low" / "e.wav").write_bytes(b"not a sound")
    assert len(build(folder, length=80).read().images) == 4
    assert "skipped 1 of the 5 sounds: low/e.wav (not a WAV file)" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"more than 0 of the 5 sounds in .*sounds cannot be used: low/e.wav"):
        build(folder, length=80, bad_limit=0).read()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.mp3").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty contains no sounds; the extensions are wav, wave, .* 1 \.mp3"):
        build(tmp_path / "empty")
    (folder / "outside.wav").write_bytes(b"")
    with pytest.raises(InputError, match="move all sounds into such folders"):
        build(folder)
