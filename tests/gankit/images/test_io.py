"""Pictures in files: what was written comes back, and what cannot be read is a sentence."""

import subprocess
import sys

import pytest
from PIL import Image

from gankit import InputError
from gankit.images.io import image_size, read_image, save_png


def coloured(width=9, height=6):
    drawn = Image.new("RGB", (width, height))
    drawn.putdata([(x * 20, y * 30, 7) for y in range(height) for x in range(width)])
    return drawn


def test_a_file_is_the_picture(tmp_path):
    drawn = coloured()
    save_png(drawn, tmp_path / "deep" / "x.png")
    assert read_image(tmp_path / "deep" / "x.png").tobytes() == drawn.tobytes()
    assert image_size(tmp_path / "deep" / "x.png") == (9, 6)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("mode", "read_as"), [("L", "L"), ("RGB", "RGB"), ("1", "RGB"), ("P", "RGB"), ("RGBA", "RGB"), ("I;16", "RGB")]
)
def test_whatever_it_is_stored_as_it_comes_in_grey_or_colour(tmp_path, mode, read_as):
    Image.new(mode, (4, 3)).save(tmp_path / "x.png")
    drawn = read_image(tmp_path / "x.png")
    assert (drawn.mode, drawn.size) == (read_as, (4, 3))


def test_of_an_animation_the_first_frame(tmp_path):
    Image.new("L", (4, 3), 10).save(tmp_path / "x.gif", save_all=True, append_images=[Image.new("L", (4, 3), 200)])
    assert read_image(tmp_path / "x.gif").getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("read", [read_image, image_size])
def test_what_is_no_picture(tmp_path, read):
    (tmp_path / "text.png").write_text("hello, this is no picture")
    (tmp_path / "figure.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, said in [
        ("gone.png", "there is no picture {}"),
        ("text.png", "{} is no picture, or of a kind that is not read here"),
        ("figure.eps", "{} is no picture, or of a kind that is not read here"),
        (".", "{} cannot be read"),
    ]:
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert str(error.value).startswith(said.format(tmp_path / name))


def test_every_damage_is_a_sentence_or_a_picture(tmp_path):
    drawn = coloured(40, 30)
    save_png(drawn, tmp_path / "whole.png")
    whole, damaged = (tmp_path / "whole.png").read_bytes(), tmp_path / "damaged.png"
    for position in range(0, len(whole) - 12, 3):  # behind it the file only says that it ends
        flipped = whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
        for data in (whole[:position], flipped):
            damaged.write_bytes(data)
            try:
                got = read_image(damaged)
            except InputError as error:
                assert str(damaged) in str(error)
            else:  # pixels may all be there before the file ends, but none is made up
                assert data is flipped or got.tobytes() == drawn.tobytes()


def test_a_run_is_looked_into_without_torch():
    modules = "gankit.images.io, gankit.storage.run_dir, gankit.images.gif, gankit.images.terminal"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
