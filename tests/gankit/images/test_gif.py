"""Tests of animated GIFs, read back by Pillow: frames, durations, captions and memory."""

import io
import itertools
import random
import weakref

import pytest
from PIL import Image, ImageChops, ImageStat

from gankit import InputError
from gankit.images.gif import MAX_SIDE, MIN_WIDTH, captioned, durations, gif, grid_frames, spread
from gankit.images.io import save_png


def noise(size=(60, 40), mode="L", seed=0):
    return Image.frombytes(mode, size, random.Random(seed).randbytes(size[0] * size[1] * len(mode)))


def gradient(size=(60, 40), blue=0):
    image = Image.new("RGB", size)
    image.putdata([(x * 255 // size[0], y * 255 // size[1], blue) for y in range(size[1]) for x in range(size[0])])
    return image


def read_back(parts):
    """Return (image, seconds) of each frame."""
    with Image.open(io.BytesIO(b"".join(parts))) as opened:
        frames = []
        for number in range(opened.n_frames):
            opened.seek(number)
            frames.append((opened.convert("RGB"), opened.info["duration"] / 1000))
        assert opened.info["loop"] == 0
        return frames


def test_grey_frames_are_exact():
    image = [noise(seed=seed) for seed in range(5)]
    frames = read_back(gif(image, [0.04, 0.1, 0.5, 1.0, 3.0]))
    assert [seconds for _, seconds in frames] == [0.04, 0.1, 0.5, 1.0, 3.0]
    for expected, (got, _) in zip(image, frames, strict=True):
        assert got.tobytes() == expected.convert("RGB").tobytes()


def test_each_colour_frame_has_its_own_palette():
    image = [gradient(blue=0), gradient(blue=120), gradient(blue=255), Image.new("RGB", (60, 40), (9, 200, 31))]
    frames = read_back(gif(image, [0.1] * 4))
    for expected, (got, _) in zip(image, frames, strict=True):
        difference = ImageStat.Stat(ImageChops.difference(got, expected))
        assert max(difference.rms) < 12
    assert frames[3][0].getpixel((30, 20)) == (9, 200, 31)


def test_the_colour_of_few_pixels_is_kept():
    image = gradient((200, 200)).point(lambda value: value // 8)
    image.paste((230, 20, 240), (10, 10, 16, 16))
    (got, _), *_ = read_back(gif([image], [1.0]))
    assert all(abs(a - b) < 12 for a, b in zip(got.getpixel((12, 12)), (230, 20, 240), strict=True))


def test_a_frame_is_written_and_released_before_the_next_is_read():
    numbers, references = [], []

    def frames():
        for number in range(50):
            numbers.append(number)
            frame = noise((20, 10), seed=number)
            references.append(weakref.ref(frame))
            assert sum(frame() is not None for frame in references) <= 4
            yield frame
            del frame

    parts = gif(frames(), [0.1] * 50)
    for _ in range(4):
        next(parts)
    assert numbers == [0]
    assert len(read_back([b"".join(gif(frames(), [0.1] * 50))])) == 50


@pytest.mark.parametrize(("count", "each"), [(2, 0.5), (16, 0.5), (32, 0.25), (100, 0.08), (300, 0.04)])
def test_durations(count, each):
    assert durations(count) == pytest.approx([each] * (count - 1) + [3.0])


def test_spread_keeps_the_first_and_the_last():
    assert spread("abc", 3) == ["a", "b", "c"]
    assert spread(range(9), 3) == [0, 4, 8]
    items = spread(range(1000), 300)
    assert len(set(items)) == 300
    assert (items[0], items[-1]) == (0, 999)
    assert {b - a for a, b in itertools.pairwise(items)} == {3, 4}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_caption_is_under_the_image(mode):
    image = noise((300, 80), mode)
    made = captioned(image, "iteration 450")
    assert made.mode == mode
    assert made.width == 300
    assert made.crop((0, 0, 300, 80)).tobytes() == image.tobytes()
    strip = made.crop((0, 80, 300, made.height)).convert("L")
    assert strip.getextrema() == (40, 255)
    left, top, right, bottom = ImageChops.invert(strip).getbbox()
    assert 0 < left < 10
    assert 60 < right < 290
    assert top > 0
    assert bottom < strip.height


def test_captions_of_any_iteration_fit_into_frames_of_one_size():
    short, long = (captioned(noise((20, 20)), f"iteration {n}") for n in (1, 88_888_888))
    assert short.size == long.size == (MIN_WIDTH, short.height)
    right = ImageChops.invert(long.crop((0, 20, MIN_WIDTH, long.height))).getbbox()[2]
    assert right < MIN_WIDTH


def test_a_large_grid_is_downsized():
    made = captioned(Image.new("RGB", (3000, 1500), (10, 20, 30)), "iteration 1")
    assert made.width == MAX_SIDE
    assert MAX_SIDE / 2 < made.height < MAX_SIDE / 2 + 50
    assert captioned(Image.new("L", (10, 5000)), "iteration 1").height < MAX_SIDE + 50


def test_grids_are_read_one_by_one(tmp_path):
    for iteration in (5, 10):
        save_png(noise((200, 100), seed=iteration), tmp_path / f"{iteration:06d}.png")
    (tmp_path / "000015.png").write_bytes((tmp_path / "000010.png").read_bytes()[:500])
    frames = grid_frames([tmp_path / f"{i:06d}.png" for i in (5, 10, 15)])
    assert next(frames).tobytes() == captioned(noise((200, 100), seed=5), "iteration 5").tobytes()
    assert next(frames).tobytes() == captioned(noise((200, 100), seed=10), "iteration 10").tobytes()
    with pytest.raises(InputError, match=r"000015\.png cannot be read; it may be damaged"):
        next(frames)
