"""Images as networks see them, [-1, 1], to images as people see them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PAPER = 255
"""Grey level of what lies between and beside the images."""

INK = 40


def to_float(images: Tensor) -> Tensor:
    """uint8 in [0, 255] to float in [-1, 1]."""
    return images.float().div_(127.5).sub_(1.0)


def to_bytes(images: Tensor) -> Tensor:
    """Float in [-1, 1] to uint8 in [0, 255], rounded; what lies outside is clipped."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_image(image: Tensor) -> Image.Image:
    """A (C, H, W) uint8 tensor as a picture: grey for one channel, RGB for three, the first three of more."""
    shown = image[:3] if image.shape[0] >= 3 else image[:1]
    height, width = shown.shape[1:]
    pixels = shown.cpu().permute(1, 2, 0).contiguous()
    data = ctypes.string_at(pixels.data_ptr(), pixels.numel())
    return Image.frombytes("L" if len(shown) == 1 else "RGB", (width, height), data)


def grid(images: Tensor, columns: int, row_names: Sequence[str] = ()) -> Image.Image:
    """Images side by side, row after row, with a name beside each row where there are names.

    Args:
        images: (N, C, R, R) uint8.
        columns: images in a row.
        row_names: one for each row, or none.
    """
    count, channels, height, width = images.shape
    channels = 3 if channels >= 3 else 1
    images = images[:, :channels].cpu()
    gap = max(1, height // 32)
    rows = -(-count // columns)
    sheet = torch.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), PAPER, dtype=torch.uint8)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    drawn = to_image(sheet)
    # Tiny images are shown larger, by whole factors, so that they can be judged by eye.
    scale = max(1, 64 // height)
    drawn = drawn.resize((drawn.width * scale, drawn.height * scale), Image.Resampling.NEAREST)
    return _named_rows(drawn, row_names, gap * scale, (height + gap) * scale) if row_names else drawn


def _named_rows(drawn: Image.Image, names: Sequence[str], top: int, row_height: int) -> Image.Image:
    font = ImageFont.load_default(size=max(10, min(16, row_height // 3)))
    margin = int(max(font.getlength(name) for name in names)) + 16
    sheet = Image.new(drawn.mode, (drawn.width + margin, drawn.height), PAPER if drawn.mode == "L" else (PAPER,) * 3)
    sheet.paste(drawn, (margin, 0))
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        middle = top + row * row_height + (row_height - top) // 2
        pen.text((margin - 8, middle), name, fill=INK if drawn.mode == "L" else (INK,) * 3, font=font, anchor="rm")
    return sheet
