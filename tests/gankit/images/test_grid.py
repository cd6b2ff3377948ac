"""Tests of conversions between tensors and images, and of grids."""

import pytest
import torch

from gankit.images.grid import PAPER, grid, to_bytes, to_float, to_image


def test_to_float_and_to_bytes_are_inverse():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_float(every)), every)
    assert to_float(every).min() == -1
    assert to_float(every).max() == 1
    assert every[7] == 7  # the input is not changed
    as_bf16 = to_float(every).to(torch.bfloat16)
    assert (to_bytes(as_bf16).int() - every.int()).abs().max() <= 1


def test_to_bytes_rounds_and_clips():
    values = torch.tensor([-9.0, -1.0, -0.997, -0.995, 0.0, 1.0, 9.0])
    # (x + 1) * 127.5: 0.3825 and 0.6375 are rounded to 0 and 1, 127.5 to the even 128.
    assert to_bytes(values).tolist() == [0, 0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGBA"), (5, "RGB")])
def test_to_image_of_channels(channels, mode):
    image = torch.arange(channels * 6, dtype=torch.uint8).view(channels, 2, 3)
    result = to_image(image)
    assert (result.mode, result.size) == (mode, (3, 2))
    count = len(result.getbands())
    expected = tuple(int(image[c, 1, 2]) for c in range(count))
    assert result.getpixel((2, 1)) == (expected if count > 1 else expected[0])
    # The memory layout makes no difference.
    assert to_image(image.permute(1, 2, 0).contiguous().permute(2, 0, 1)).tobytes() == result.tobytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("size", "gap", "scale"), [(8, 1, 8), (64, 2, 1), (100, 3, 1), (33, 1, 1), (32, 1, 2)])
def test_positions_of_images_in_a_grid(channels, size, gap, scale):
    columns, count = 3, 5
    images = torch.randint(0, 200, (count, channels, size, size), dtype=torch.uint8)
    result = grid(images, columns)
    rows = 2
    assert result.size == ((columns * (size + gap) + gap) * scale, (rows * (size + gap) + gap) * scale)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        left, top = (gap + column * (size + gap)) * scale, (gap + row * (size + gap)) * scale
        for x, y in [(0, 0), (size - 1, 0), (size // 2, size - 1)]:
            got = result.getpixel((left + x * scale, top + y * scale))
            got = got if isinstance(got, tuple) else (got,)
            if number < count:
                assert got == tuple(images[number, : len(got), y, x].tolist())
            else:
                assert set(got) == {PAPER}
    corner = result.getpixel((0, 0))
    assert corner in (PAPER, (PAPER,) * 3, (PAPER,) * 4)


def test_long_row_names_have_several_short_lines():
    images = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    plain, short, long = (grid(images, 1, names) for names in ((), ["x" * 24], ["one long name of a row " * 9]))
    assert plain.width + 30 < long.width < short.width + 60
    beside = long.crop((0, 0, long.width - plain.width, long.height)).convert("L")
    inked = [beside.crop((0, y, beside.width, y + 1)).getextrema()[0] < 128 for y in range(beside.height)]
    lines = sum(now and not before for before, now in zip([False, *inked], inked, strict=False))
    assert lines >= 3
    assert not inked[0]
    assert not inked[-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_row_names_are_beside_the_images(channels):
    images = torch.full((4, channels, 8, 8), 9, dtype=torch.uint8)
    plain, named = grid(images, 2), grid(images, 2, ("a", "a longer name"))
    margin = named.width - plain.width
    assert margin > 30
    assert named.height == plain.height
    assert named.crop((margin, 0, named.width, named.height)).tobytes() == plain.tobytes()
    beside = named.crop((0, 0, margin, named.height)).convert("L")
    for row in (0, 1):
        half = beside.crop((0, row * named.height // 2, margin, (row + 1) * named.height // 2))
        assert half.getextrema()[0] < 128
        assert half.getextrema()[1] == PAPER


@pytest.mark.parametrize("names", [("a", "b"), ("age=20", "a name that does not fit")])
def test_column_names_are_above_the_images(names):
    images = torch.full((4, 3, 8, 8), 9, dtype=torch.uint8)
    plain, rows = grid(images, 2), grid(images, 2, ("first", "second"))
    columns, both = grid(images, 2, (), names), grid(images, 2, ("first", "second"), names)
    header, margin = columns.height - plain.height, rows.width - plain.width
    assert (columns.width, both.size) == (plain.width, (rows.width, columns.height))
    assert columns.crop((0, header, columns.width, columns.height)).tobytes() == plain.tobytes()
    assert both.crop((0, header, both.width, both.height)).tobytes() == rows.tobytes()
    for sheet, left in ((columns, 0), (both, margin)):
        above = sheet.crop((left, 0, sheet.width, header)).convert("L")
        for column in (0, 1):
            half = above.crop((column * above.width // 2, 0, (column + 1) * above.width // 2, header))
            assert half.getextrema()[0] < 128


def test_long_names_of_columns_do_not_overlap():
    name = "text=a large blue star on dark red"
    picture = grid(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), 2, column_names=[name, name])
    between = 2 + 64  # the images and the gaps between them are 64 and 2 pixels wide
    assert all(picture.getpixel((between, y)) == (PAPER,) * 3 for y in range(24))
