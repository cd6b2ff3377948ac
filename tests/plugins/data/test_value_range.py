"""Grey images with a range of values: 16-bit PNG, and TIFF with integers or floating-point numbers."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gankit import InputError
from gankit.data.prepared import prepare, read_prepared
from gankit.testing import check_dataset, check_resume
from gankit_plugins.data.brightness import ImageError
from gankit_plugins.data.decode import decode
from gankit_plugins.data.decode_all import decode_all
from gankit_plugins.data.images import Images
from tests.plugins.data.image_files import encoded, plain, png, tiff

RAMP = np.arange(64).reshape(8, 8)
SCALED = torch.tensor(RAMP / 63 * 2 - 1, dtype=torch.float32)[None]


def ramp(dtype, factor=1, offset=0):
    return Image.fromarray((RAMP * factor + offset).astype(dtype))


def pixels(data, limits, size=8):
    ((_, image, _),) = decode_all(["x"], lambda name: data, (size, size), 1, limits=limits)
    return image


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (encoded(ramp(np.uint16, 1000)), (0, 63000)),
        (encoded(ramp(np.uint16, 10, 7), "TIFF"), (7, 637)),
        (encoded(ramp(np.int32, 1000, -30000), "TIFF"), (-30000, 33000)),
        (encoded(ramp(np.float32, 0.5, -3), "TIFF"), (-3, 28.5)),
        (encoded(ramp(np.uint8)), (0, 63)),
        (encoded(ramp(np.uint8), "TIFF"), (0, 63)),
        (tiff((RAMP - 32).astype("<i2").tobytes(), 16, (8, 8), sample_format=2), (-32, 31)),
    ],
    ids=["16-bit PNG", "16-bit TIFF", "32-bit TIFF", "float TIFF", "8-bit PNG", "8-bit TIFF", "signed 16-bit TIFF"],
)
def test_values_keep_their_precision(data, limits):
    torch.testing.assert_close(pixels(data, limits), SCALED, rtol=0, atol=1e-6)


def test_resized_images_stay_in_the_range():
    edge = Image.fromarray(np.repeat(np.float32([[0, 1]]), 16, 1).repeat(32, 0))
    resized = np.asarray(edge.resize((20, 20), Image.Resampling.LANCZOS))
    assert resized.max() > 1, "the filter overshoots"
    found = pixels(encoded(edge, "TIFF"), (0, 1), 20)
    torch.testing.assert_close(found[0], torch.tensor(resized * 2 - 1).clamp(-1, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(plain("RGB", (1, 2, 3))), "for grey images without opacity, and the mode is RGB"),
        (encoded(plain("LA", (1, 2))), "the mode is LA"),
        (encoded(plain("1", 1)), "the mode is 1"),
        (png(16, 2, struct.pack(">6H", *range(6))), "the mode is RGB"),
        (tiff(bytes(4), 8, sample_format=2), "signed 8-bit integers"),
        (tiff(bytes(8), 16, photometric=0), "0 is white in the file"),
    ],
)
def test_files_without_grey_numbers(data, message):
    with pytest.raises(ImageError, match=message):
        decode(data, (4, 4), 1, limits=(0, 255))


def dataset(path, limits=(0, 63), **settings):
    settings = {"resolution": 8, "channels": 1, "value_range": limits} | settings
    return Images(Images.Config(path=path, **settings)).load_data()


@pytest.fixture
def folder(tmp_path):
    for number in range(40):  # more than a batch of a worker process
        name = tmp_path / "x" / f"class{number % 2}" / f"{number:02}.tif"
        name.parent.mkdir(parents=True, exist_ok=True)
        ramp(np.float32, 1, -number / 100 if number else 0).save(name)
    return tmp_path / "x"


def test_a_folder_of_images(folder, tmp_path):
    data = dataset(folder, (-1, 63))
    check_dataset(data)
    assert data.class_names == ("class0", "class1")
    assert data.note == "upright by EXIF, centre square, values from -1 to 63, Lanczos"
    images = data.read().images
    assert images.dtype == torch.float32
    order = torch.tensor([*range(0, 40, 2), *range(1, 40, 2)])
    expected = (torch.tensor(RAMP) - order[:, None, None] / 100 + 1) / 32 - 1
    torch.testing.assert_close(images[:, 0], expected.float(), rtol=0, atol=1e-5)
    prepare(data, tmp_path / "y.safetensors", "test")
    assert torch.equal(read_prepared(tmp_path / "y.safetensors").read().images, images)
    with pytest.raises(InputError, match=r"value_range: .* has prepared images, which are scaled"):
        dataset(tmp_path / "y.safetensors")


def test_values_outside_of_the_range_are_refused(folder):
    with pytest.raises(InputError) as error:
        dataset(folder).read()
    assert str(error.value) == (
        f"value_range: {folder}: class0/02.tif has values from -0.02 to 62.98, outside of [0, 63]; set "
        "data.value_range to the smallest and the largest possible value"
    )
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(folder / "class0" / "00.tif")
    with pytest.raises(InputError, match=r"00\.tif has values from nan to nan"):
        dataset(folder, (-1, 63)).read()
    hole = RAMP.astype(np.float32)
    hole[5, 5] = np.nan
    Image.fromarray(hole).save(folder / "class0" / "00.tif")
    with pytest.raises(InputError, match=r"00\.tif has values that are not numbers"):
        dataset(folder, (-1, 63)).read()


def test_without_the_setting_the_message_names_it(folder):
    with pytest.raises(InputError, match=r"or set data\.value_range"):
        dataset(folder, None).read()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"channels": 3}, "set channels = 1"),
        ({"channels": None}, "set channels = 1"),
        ({"value_range": [1, 0]}, "smaller than the second"),
    ],
)
def test_wrong_settings(tmp_path, settings, expected):
    with pytest.raises(ValidationError, match=expected):
        dataset(tmp_path, **settings)


def test_resume_is_exact(folder):
    settings = {"use": "images", "path": str(folder), "resolution": 8, "channels": 1, "value_range": [-1, 63]}
    check_resume({}, {"data": settings})
