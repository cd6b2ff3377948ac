"""Conversion of image files to squares of pixels."""

import io
import struct

import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gankit_plugins.data import decode as module
from gankit_plugins.data.brightness import ImageError, eight_bits, file_values
from tests.plugins.data.image_files import colour, encoded, plain, png, png_of_size, tga, tiff


def decode(data, resolution, channels, crop=None):
    values = bytearray(module.decode(data, (resolution, resolution), channels, crop).pixels)
    return torch.frombuffer(values, dtype=torch.uint8).view(channels, resolution, resolution)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(plain("RGB", (10, 200, 30))), [10, 200, 30]),
        (encoded(plain("L", 77)), [77, 77, 77]),
        (encoded(plain("1", 1)), [255, 255, 255]),
        (encoded(plain("RGB", (10, 200, 30)).quantize(4)), [10, 200, 30]),
        (encoded(plain("RGBA", (10, 200, 30, 255))), [10, 200, 30]),
        (encoded(plain("RGBA", (10, 200, 30, 0))), [255, 255, 255]),
        (encoded(plain("RGBA", (0, 100, 200, 51))), [204, 224, 244]),  # 0.2 of it, 0.8 white
        (encoded(plain("LA", (100, 51))), [224, 224, 224]),
        (encoded(plain("RGB", (10, 200, 30)), transparency=(10, 200, 30)), [255, 255, 255]),
        (encoded(plain("I;16", 65535)), [255, 255, 255]),
        (encoded(plain("I;16", 257 * 99 + 128)), [99, 99, 99]),
        (encoded(plain("I;16", 257 * 99 + 129)), [100, 100, 100]),
        (encoded(plain("I;16B", 257 * 99), "TIFF"), [99, 99, 99]),
        (encoded(plain("CMYK", (255, 0, 0, 0)), "TIFF"), [0, 255, 255]),
        (encoded(plain("RGB", (255, 255, 0)), "BMP"), [255, 255, 0]),
        (encoded(plain("RGB", (255, 0, 255)), "WEBP", lossless=True), [255, 0, 255]),
        (encoded(plain("RGB", (1, 2, 3)), "PPM"), [1, 2, 3]),
        (encoded(plain("RGB", (0, 0, 255)), "GIF"), [0, 0, 255]),
    ],
    ids=lambda value: value[1:4].decode("latin1") if isinstance(value, bytes) else str(value),
)
def test_all_modes_become_eight_bit_rgb(data, expected):
    assert colour(decode(data, 4, 3)) == expected


def brightness(data, width=2):
    """Return the grey values of an image of `width` x 1 pixels that is decoded without a change of its size."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (width, 1)
        values = file_values(image, data)
        return list(eight_bits(image, values, "L").tobytes())


NEEDS_PILLOW_13 = pytest.mark.skipif(PIL.__version__ < "13", reason="Pillow 12 does not read these TIFF files")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff(struct.pack("<2H", 0, 65535), 16, (2, 1)), [0, 255]),
        (tiff(struct.pack("<2H", 0, 257 * 55), 16, (2, 1), photometric=0), [255, 200]),
        (tiff(bytes([0x00, 0x0F, 0xFF]), 12, (2, 1)), [0, 255]),  # 12 bits: 0 and 4095
        (tiff(bytes([0x80, 0x04, 0x01]), 12, (2, 1)), [128, 64]),  # 12 bits: 2048 and 1025
        (tiff(bytes([0, 200]), 8, (2, 1), photometric=0), [255, 55]),
        (b"P5 2 1 4095\n" + struct.pack(">2H", 4095, 2048), [255, 128]),
        (b"P2 2 1 15\n15 3\n", [255, 51]),
        (tga(32, bytes([9, 9, 9, 0, 7, 7, 7, 0]), alpha_bits=0), [9, 7]),
        (tga(32, bytes([9, 9, 9, 0, 7, 7, 7, 255]), alpha_bits=8), [255, 7]),
        pytest.param(tiff(bytes([0, 0, 100, 255]), 8, (2, 1), alpha=1), [255, 100], marks=NEEDS_PILLOW_13),
        (tiff(bytes([50, 0, 100, 255]), 8, (2, 1), alpha=2), [255, 100]),
        pytest.param(tiff(bytes([50, 0, 100, 255]), 8, (2, 1), alpha=0), [50, 100], marks=NEEDS_PILLOW_13),
    ],
)
def test_values_have_the_brightness_that_the_file_specifies(data, expected):
    assert brightness(data) == expected


@pytest.mark.parametrize(
    ("depth", "row", "key", "expected"),
    [
        (1, b"\x40", 1, [0, 255]),  # values 0 and 1; all others below likewise: the key is the second value
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x60", 2, [85, 255]),
        (4, b"\x5a", 10, [85, 255]),
        (8, b"\x05\xa5", 165, [5, 255]),
        (16, struct.pack(">2H", 257 * 10, 257 * 20), 257 * 20, [10, 255]),
        (16, struct.pack(">2H", 257 * 20 + 1, 257 * 20), 257 * 20, [20, 255]),
    ],
)
def test_the_transparent_value_of_a_grey_png_is_put_on_white_at_all_depths(depth, row, key, expected):
    assert brightness(png(depth, 0, row, key=(key,))) == expected


def test_the_largest_value_of_16_bit_images_is_recorded():
    def peak(data):
        return module.decode(data, (4, 4), 1).peak

    assert peak(encoded(plain("I;16", 4095))) == 4095
    assert peak(encoded(plain("I;16B", 300), "TIFF")) == 300
    assert peak(png(16, 2, struct.pack(">6H", 0, 4000, 0, 0, 0, 0))) == 4095  # the lower 8 bits are not read
    assert peak(png(16, 4, struct.pack(">4H", 900, 65535, 800, 65535))) == 1023  # without alpha
    assert peak(encoded(plain("L", 200))) is None
    assert peak(tiff(bytes(3), 12, (2, 1))) is None
    # White is 0, so these pixels are nearly white, and nearly black.
    assert peak(tiff(struct.pack("<4H", *[1000] * 4), 16, photometric=0)) == 65535 - 1000
    assert peak(tiff(struct.pack("<4H", *[64535] * 4), 16, photometric=0)) == 1000


def test_jpegs_of_print_colours():
    pixels = decode(encoded(plain("RGB", (200, 200, 200)).convert("CMYK"), "JPEG", quality=95), 4, 3)
    assert ((pixels.int() - 200).abs() <= 3).all()


def test_transparent_palette_entries_are_put_on_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert colour(decode(encoded(image), 4, 3)) == [255, 0, 0]
    assert colour(decode(encoded(image, transparency=1), 4, 3)) == [255, 255, 255]


def test_grey_is_luminance():
    assert colour(decode(encoded(plain("RGB", (10, 20, 30))), 4, 1)) == [18]  # 0.299 r + 0.587 g + 0.114 b = 18.15
    assert colour(decode(encoded(plain("RGBA", (0, 0, 0, 51))), 4, 1)) == [204]
    assert colour(decode(encoded(plain("I;16", 257 * 99)), 4, 1)) == [99]


@given(width=st.integers(1, 40), height=st.integers(1, 40), resolution=st.integers(4, 20), grey=st.booleans())
def test_images_of_any_size_become_squares(width, height, resolution, grey):
    channels = 1 if grey else 3
    pixels = decode(encoded(plain("RGB", (50, 50, 50), (width, height))), resolution, channels)
    assert pixels.shape == (channels, resolution, resolution)
    assert (pixels == 50).all()


@pytest.mark.parametrize("size", [(8, 4), (4, 8), (9, 4), (4, 4)])
def test_the_centre_is_cropped(size):
    width, height = size
    image = Image.new("RGB", size)
    image.putdata([(10 * y, 10 * x, 7) for y in range(height) for x in range(width)])
    left, top = (width - 4) // 2, (height - 4) // 2
    red, green, blue = decode(encoded(image), 4, 3)
    assert red.tolist() == [[10 * (y + top)] * 4 for y in range(4)]
    assert green.tolist() == [[10 * (x + left) for x in range(4)]] * 4
    assert (blue == 7).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(("size", "crop"), [((9, 8), 4), ((8, 5), 5), ((40, 50), 7)])
def test_a_crop_is_the_centred_square_of_its_side(size, crop, kind):
    width, height = size
    image = Image.new("L", size)
    image.putdata([5 * y + x for y in range(height) for x in range(width)])
    left, top = (width - crop) // 2, (height - crop) // 2
    expected = torch.tensor([[5 * (y + top) + x + left for x in range(crop)] for y in range(crop)])
    pixels = decode(encoded(image, kind, **({"quality": 100} if kind == "JPEG" else {})), crop, 1, crop)[0]
    assert (pixels - expected).abs().max() <= (2 if kind == "JPEG" else 0)
    enlarged = decode(encoded(image), 3 * crop, 1, crop)[0]
    torch.testing.assert_close(enlarged[1::3, 1::3].float(), expected.float(), atol=8, rtol=0)


@pytest.mark.parametrize("size", [(6, 9), (9, 6)])
def test_images_smaller_than_the_crop_are_refused(size):
    with pytest.raises(ImageError, match=rf"the image has {size[0]} x {size[1]} pixels; the crop needs 7 x 7"):
        decode(encoded(Image.new("L", size)), 4, 1, 7)


@pytest.mark.parametrize(
    ("orientation", "upright"), [(1, [[1, 2], [3, 4]]), (2, [[2, 1], [4, 3]]), (6, [[3, 1], [4, 2]])]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_images_are_rotated_as_their_exif_orientation_says(orientation, upright, kind):
    stored = Image.new("L", (32, 32))
    stored.putdata([50 * (1 + x // 16 + 2 * (y // 16)) for y in range(32) for x in range(32)])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} | ({"quality": 100} if kind == "JPEG" else {})
    pixels = decode(encoded(stored, kind, **options), 32, 1)[0]
    assert [[round(pixels[y, x].item() / 50) for x in (4, 28)] for y in (4, 28)] == upright


def test_downscaling_does_not_alias():
    """A checkerboard of single pixels becomes grey; skipping pixels would keep black or white."""
    image = Image.new("L", (64, 64))
    image.putdata([255 * ((x + y) % 2) for y in range(64) for x in range(64)])
    assert ((decode(encoded(image), 8, 1).int() - 127).abs() <= 3).all()


def test_large_jpegs_are_decoded_at_reduced_size_with_the_same_result(monkeypatch):
    x = torch.arange(640).float()
    wave = (127 + 60 * torch.sin(x / 40)[:, None] + 60 * torch.cos(x / 55)).to(torch.uint8)
    image = Image.frombytes("L", (640, 640), bytes(wave.flatten().tolist())).convert("RGB")
    data = encoded(image, "JPEG", quality=95)
    sizes = []
    upright = module.ImageOps.exif_transpose
    monkeypatch.setattr(module.ImageOps, "exif_transpose", lambda image: sizes.append(image.size) or upright(image))
    small = decode(data, 32, 3)
    monkeypatch.setattr(JpegImageFile, "draft", lambda *arguments: None)
    full = decode(data, 32, 3)
    assert sizes == [(80, 80), (640, 640)]
    assert ((small.int() - full.int()).abs() <= 3).all()


def test_the_first_frame_of_an_animation_is_used():
    frames = [plain("RGB", (255, 0, 0)), plain("RGB", (0, 0, 255))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert colour(decode(data, 4, 3)) == [255, 0, 0]


NOISE = encoded(Image.effect_noise((64, 64), 60))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image"),
        (b"not at all", "not an image"),
        (NOISE[:500], "truncated|Truncated|broken"),
        (NOISE[:-200] + bytes(150) + NOISE[-50:], "."),
        (encoded(plain("F", 0.5), "TIFF"), "floating-point numbers of an unknown range"),
        (encoded(plain("I", 200), "TIFF"), "signed integers of an unknown range; convert the file to unsigned 8-bit"),
        (tiff(struct.pack("<4I", *range(4)), 32, sample_format=1), "32-bit integers of an unknown range"),
        (tiff(struct.pack("<4h", *range(4)), 16, sample_format=2), "signed integers of an unknown range"),
        (tiff(bytes(4), 8, sample_format=2), "signed integers of an unknown range"),
        (
            png(16, 2, struct.pack(">6H", *range(6)), key=(0, 1, 2)),
            "a transparent colour with 16 bits for each channel",
        ),
        (png_of_size(2**31 - 1, 2**31 - 1), "at most 178956970 pixels are read"),
        (png_of_size(0, 5), "."),
    ],
)
def test_unusable_files_are_refused_with_a_reason(data, message):
    with pytest.raises(ImageError, match=message):
        decode(data, 4, 3)


def test_the_pixel_limit_holds_without_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="20000 x 20000 pixels; at most 178956970"):
        decode(png_of_size(20000, 20000), 4, 3)


@settings(max_examples=100)
@given(position=st.integers(0, len(NOISE) - 1), value=st.integers(0, 255), length=st.integers(0, len(NOISE)))
def test_damaged_files_raise_image_errors_only(position, value, length):
    data = bytearray(NOISE)
    data[position] = value
    for damaged in (bytes(data), bytes(data[:length])):
        try:
            assert decode(damaged, 4, 3).shape == (3, 4, 4)
        except ImageError as error:
            assert "\n" not in str(error)


def test_formats_for_which_pillow_runs_programs_are_refused(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **options: pytest.fail(f"ran {arguments}"))
    with pytest.raises(ImageError, match="not an image, or not of a supported format"):
        decode(encoded(plain("RGB", "red"), "EPS"), 4, 3)


def test_lab_to_grey_equals_lab_to_rgb_to_grey():
    data = encoded(plain("LAB", (128, 0, 0)), "TIFF")
    colour, grey = decode(data, 4, 3), decode(data, 4, 1)
    luminance = (colour.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    assert (luminance - grey[0].float()).abs().max() <= 1
