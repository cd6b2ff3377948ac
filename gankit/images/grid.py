"""Conversion of pixel values, conversion of tensors to Pillow images, and grids of images."""

from __future__ import annotations

import ctypes
import textwrap
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PAPER = 255
"""Grey level of a grid's background, in [0, 255]."""

INK = 40
"""Grey level of the row names in a grid, in [0, 255]."""

SMALLEST_FONT, LARGEST_FONT = 10, 16
"""Smallest and largest size of the names of rows and columns in a grid, in pixels."""

HEADER = 24
"""Height of the names of the columns above a grid, in pixels."""

NAME_WIDTH, NAME_LINES = 24, 3
"""Maximum length of a line of a row's name, in characters, and maximum number of its lines."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Mode of a Pillow image for each supported number of channels."""


def to_float(images: Tensor) -> Tensor:
    """Convert images from uint8 in [0, 255] or uint16 in [0, 65535] to float32 in [-1, 1]."""
    return images.float().div_(32767.5 if images.dtype == torch.uint16 else 127.5).sub_(1.0)


def as_input(tensor: Tensor) -> Tensor:
    """Convert uint8 and uint16 images to float32 in [-1, 1], the input format of the networks.

    All other tensors are returned unchanged, including labels and tokens, which are int64.
    """
    return to_float(tensor) if tensor.dtype in (torch.uint8, torch.uint16) else tensor


def to_bytes(images: Tensor) -> Tensor:
    """Convert images from floating point in [-1, 1] to uint8 in [0, 255]. Values are rounded and clipped."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_image(image: Tensor) -> Image.Image:
    """Convert a uint8 tensor (C, H, W) to a Pillow image: grey (C = 1), RGB (C = 3) or RGBA (C = 4).

    If C is 2, the image shows the first channel. If C is above 4, the image shows the first three channels.
    """
    image = image[: shown_channels(len(image))]
    height, width = image.shape[1:]
    pixels = image.cpu().permute(1, 2, 0).contiguous()
    data = ctypes.string_at(pixels.data_ptr(), pixels.numel())
    return Image.frombytes(MODES[len(image)], (width, height), data)


def shown_channels(channels: int) -> int:
    """Return the number of channels that `to_image` shows for an image with `channels` channels: 1, 3 or 4."""
    return channels if channels in MODES else 3 if channels > 4 else 1


def grid(images: Tensor, columns: int, row_names: Sequence[str] = (), column_names: Sequence[str] = ()) -> Image.Image:
    """Return a Pillow image that shows images in a grid, row by row.

    The names of the rows, if any, are on the left. The names of the columns, if any, are at the top.

    Args:
        images: (N, C, H, W) uint8. With four channels, the fourth is the opacity.
        columns: number of images in a row.
        row_names: one name for each row, or an empty sequence for no names.
        column_names: one name for each column, or an empty sequence for no names.
    """
    count, channels, height, width = images.shape
    channels = shown_channels(channels)
    images = images[:, :channels].cpu()
    gap = max(1, height // 32)
    rows = -(-count // columns)
    sheet = torch.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), PAPER, dtype=torch.uint8)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    result = to_image(sheet)
    # Enlarge small images by an integer factor, so that details are visible.
    scale = max(1, 64 // height)
    result = result.resize((result.width * scale, result.height * scale), Image.Resampling.NEAREST)
    if not row_names and not column_names:
        return result
    return _named(result, row_names, column_names, gap * scale, ((width + gap) * scale, (height + gap) * scale))


def _named(
    image: Image.Image, row_names: Sequence[str], column_names: Sequence[str], gap: int, cell: tuple[int, int]
) -> Image.Image:
    """Add the names of the rows to the left of a grid, and the names of the columns above it.

    A long name of a row has several lines. A long name of a column is cut.

    Args:
        image: grid without names.
        row_names: one name for each row, or an empty sequence.
        column_names: one name for each column, or an empty sequence.
        gap: distance between neighbouring images, in pixels of `image`.
        cell: width and height of one image together with one gap, in pixels of `image`.
    """
    width, height = cell
    font = ImageFont.load_default(size=max(SMALLEST_FONT, min(LARGEST_FONT, height // 3)))
    texts = ["\n".join(textwrap.wrap(n, NAME_WIDTH, max_lines=NAME_LINES, placeholder=" ...")) for n in row_names]
    margin = int(max(font.getlength(line) for text in texts for line in text.split("\n"))) + 16 if texts else 0
    header = HEADER if column_names else 0
    bands = len(image.getbands())
    sheet = Image.new(image.mode, (image.width + margin, image.height + header), (PAPER,) * bands)
    sheet.paste(image, (margin, header))
    pen = ImageDraw.Draw(sheet)
    ink = (INK,) * min(bands, 3) + (255,) * (bands == 4)
    for row, text in enumerate(texts):
        middle = header + gap + row * height + (height - gap) // 2
        pen.text((margin - 8, middle), text, fill=ink, font=font, anchor="rm", align="right")
    if column_names:
        font = _fitting_font(column_names, width - gap)
    for column, name in enumerate(column_names):
        middle = margin + gap + column * width + (width - gap) // 2
        pen.text((middle, header // 2), _cut(name, font, width - gap), fill=ink, font=font, anchor="mm")
    return sheet


def _fitting_font(names: Sequence[str], width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the largest font in which all names fit into `width` pixels. If none fits, return the smallest font."""
    for size in range(LARGEST_FONT, SMALLEST_FONT, -1):
        font = ImageFont.load_default(size)
        if max(font.getlength(name) for name in names) <= width:
            return font
    return ImageFont.load_default(SMALLEST_FONT)


def _cut(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut a name such that it fits into `width` pixels. The end of a cut name is "..."."""
    if font.getlength(name) <= width:
        return name
    lengths = (length for length in range(len(name), 0, -1) if font.getlength(f"{name[:length]}...") <= width)
    return f"{name[: next(lengths, 1)]}..."
