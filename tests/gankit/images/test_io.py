"""Tests of image files: round trip, modes and damage."""

import subprocess
import sys

import pytest
from PIL import Image

from gankit import InputError
from gankit.images.io import image_size, read_image, save_png


def coloured(width=9, height=6):
    image = Image.new("RGB", (width, height))
    image.putdata([(x * 20, y * 30, 7) for y in range(height) for x in range(width)])
    return image


def test_round_trip(tmp_path):
    image = coloured()
    save_png(image, tmp_path / "deep" / "x.png")
    assert read_image(tmp_path / "deep" / "x.png").tobytes() == image.tobytes()
    assert image_size(tmp_path / "deep" / "x.png") == (9, 6)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("mode", "read_as"), [("L", "L"), ("RGB", "RGB"), ("1", "RGB"), ("P", "RGB"), ("RGBA", "RGB"), ("I;16", "RGB")]
)
def test_images_are_read_in_grey_or_colour(tmp_path, mode, read_as):
    Image.new(mode, (4, 3)).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png")
    assert (image.mode, image.size) == (read_as, (4, 3))


def test_an_animation_gives_its_first_frame(tmp_path):
    Image.new("L", (4, 3), 10).save(tmp_path / "x.gif", save_all=True, append_images=[Image.new("L", (4, 3), 200)])
    assert read_image(tmp_path / "x.gif").getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("read", [read_image, image_size])
def test_files_that_are_not_images(tmp_path, read):
    (tmp_path / "text.png").write_text("hello, this is not an image")
    (tmp_path / "figure.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, message in [
        ("gone.png", "there is no image {}"),
        ("text.png", "{} is not an image of a supported format: PNG, GIF, JPEG, BMP"),
        ("figure.eps", "{} is not an image of a supported format: PNG, GIF, JPEG, BMP"),
        (".", "{} cannot be read"),
    ]:
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert str(error.value).startswith(message.format(tmp_path / name))


def test_a_damaged_file_is_an_input_error_or_a_complete_image(tmp_path):
    image = coloured(40, 30)
    save_png(image, tmp_path / "whole.png")
    whole, damaged = (tmp_path / "whole.png").read_bytes(), tmp_path / "damaged.png"
    for position in range(0, len(whole) - 12, 3):  # the last 12 bytes only mark the end
        flipped = whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
        for data in (whole[:position], flipped):
            damaged.write_bytes(data)
            try:
                got = read_image(damaged)
            except InputError as error:
                assert str(damaged) in str(error)
            else:
                # All pixels may be present before the end of the file, but none is invented.
                assert data is flipped or got.tobytes() == image.tobytes()


def test_reading_a_run_does_not_import_torch():
    modules = "gankit.images.io, gankit.storage.run_dir, gankit.images.gif, gankit.images.terminal"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
