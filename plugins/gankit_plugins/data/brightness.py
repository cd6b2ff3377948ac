"""Functions that convert Pillow images of any mode to 8 bits per channel or to numbers, with their brightness.

Worker processes import this module. They start fast, because the module does not import torch.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image, ImageMath
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's names of the image modes for 16-bit values.

Mode `I` has 32 bits, but Pillow uses it for 16-bit PNM files.
"""

MAXIMUM = 65535

# Numbers of TIFF tags, and values of these tags.
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO = 0
UNSIGNED = 1

# Offset of the bit depth in PNG files, offset of the image descriptor in TGA files, and mask of the alpha bits in this
# descriptor.
PNG_BIT_DEPTH, TGA_DESCRIPTOR = 24, 17
TGA_ALPHA_BITS = 0b1111


class ImageError(Exception):
    """Error for an image file that cannot be used, such as a damaged file."""


class RangeError(ImageError):
    """Error for an image with values outside of the range in the settings."""


Limits = tuple[float, float]
"""Smallest and largest possible value of the pixels. They become -1 and 1."""


class Values(NamedTuple):
    """Meaning of the pixel values in an image file."""

    white: int
    """Value of white, for images whose mode is in `SIXTEEN_BITS`."""

    inverted: bool
    """True if the value 0 means white in the file, and the largest value means black."""

    sixteen_bits: bool
    """True if the values in the file have 16 bits, even if Pillow's image mode has fewer bits."""

    opaque: bool
    """True if the alpha channel has no meaning and is ignored."""


def file_values(image: ImageFile, content: bytes) -> Values:
    """Return the meaning of the pixel values in an image file, and correct the transparent colour of the image.

    For a grey PNG file with 2 or 4 bits per pixel, Pillow scales the pixels to 8 bits. It does not scale the
    transparent colour, so this function does.

    Args:
        image: image as opened by Pillow, before its pixels are read.
        content: content of the file.

    Raises:
        ImageError: the values have no known range, or a transparent colour has 16 bits for each channel.
    """
    white, inverted, opaque = MAXIMUM, False, False
    sixteen_bits = image.mode in SIXTEEN_BITS or any(";16" in str(tile.args) for tile in image.tile)
    if image.mode == "F":
        raise _no_range("floating-point numbers")
    if isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (1,)))
        if set(image.tag_v2.get(SAMPLE_FORMAT, (UNSIGNED,))) - {UNSIGNED}:
            raise _no_range("signed integers")
        if bits > 16:
            raise _no_range(f"{bits}-bit integers")
        white, sixteen_bits = 2**bits - 1, bits == 16
        inverted = image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    elif image.format == "TGA":
        opaque = not content[TGA_DESCRIPTOR] & TGA_ALPHA_BITS
    elif image.format == "PNG" and "transparency" in image.info:
        depth = content[PNG_BIT_DEPTH]
        if image.mode == "RGB" and depth == 16:
            raise ImageError(
                "a transparent colour with 16 bits for each channel is not supported; use an alpha channel"
            )
        if image.mode == "L":
            image.info["transparency"] *= 255 // (2**depth - 1)
    return Values(white, inverted, sixteen_bits, opaque)


def check_grey(image: ImageFile) -> None:
    """Check that the pixels of an image file are single numbers, as `scaled_values` needs.

    Raises:
        ImageError: the image has colours or opacity, or its values cannot be read as numbers.
    """
    if image.mode not in ("L", "F", *SIXTEEN_BITS):
        raise ImageError(f"a range of values is for grey images without opacity, and the mode is {image.mode}")
    if isinstance(image, TiffImageFile):
        if image.mode == "L" and set(image.tag_v2.get(SAMPLE_FORMAT, (UNSIGNED,))) - {UNSIGNED}:
            raise ImageError("signed 8-bit integers are not supported; convert the file to 16 bits")
        if image.mode != "L" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            raise ImageError("0 is white in the file; with a range of values, 0 must be black; convert the file")


def scaled_values(image: Image.Image, limits: Limits) -> Image.Image:
    """Convert a grey image to floating point (mode `F`), and scale its values so that the limits become -1 and 1.

    Raises:
        RangeError: a value is outside of the limits. NaN is found only in the first pixel.
    """
    wide = (image.convert("I") if image.mode in SIXTEEN_BITS else image).convert("F")
    (lowest, highest), (low, high) = wide.getextrema(), limits
    if not (low <= lowest and highest <= high):  # type: ignore[operator]
        raise RangeError(
            f"values from {lowest:g} to {highest:g}, outside of [{low:g}, {high:g}]; set data.value_range to the "
            "smallest and the largest possible value"
        )
    factor = 2 / (high - low)
    return wide.point(lambda value: value * factor + (-1 - low * factor))


def largest_value(image: Image.Image, values: Values) -> int:
    """Return the largest 16-bit value of an image, without its alpha channel.

    Black counts as 0, also in inverted files. For 16-bit colours, Pillow reads only the upper 8 bits of each value.
    This function assumes that the lower 8 bits are all 1.
    """
    if image.mode in SIXTEEN_BITS:
        low, high = image.convert("I").getextrema()
        return values.white - int(low) if values.inverted else int(high)  # type: ignore[arg-type]
    return max(256 * int(band.getextrema()[1]) + 255 for band in image.convert("RGB").split())  # type: ignore[arg-type]


def eight_bits(image: Image.Image, values: Values, mode: str) -> Image.Image:
    """Convert an image to Pillow's mode `L`, `RGB` or `RGBA`, with 8 bits per channel.

    In mode `L` or `RGB`, transparent areas become white. In mode `RGBA`, fully transparent pixels become black.
    """
    if image.mode in SIXTEEN_BITS:
        wide, key = image.convert("I"), image.info.get("transparency")
        factor, offset = (-255 / values.white, 255) if values.inverted else (255 / values.white, 0)
        # Add 0.5 to round to the nearest integer, because the conversion to mode L truncates.
        grey = wide.convert("F").point(lambda value: value * factor + (offset + 0.5)).convert("L")
        if key is not None:
            visible = ImageMath.lambda_eval(lambda of: of["convert"]((of["wide"] != key) * 255, "L"), wide=wide)
            if mode == "RGBA":
                return Image.merge("LA", (grey, visible)).convert("La").convert("LA").convert(mode)
            grey = Image.composite(grey, Image.new("L", grey.size, 255), visible)
        return grey.convert(mode)
    if image.mode == "La":  # Pillow can convert La only to LA
        image = image.convert("LA")
    if image.has_transparency_data and not values.opaque:
        layer = image.convert("RGBA")
        if mode == "RGBA":
            # The conversion to premultiplied colours and back makes transparent pixels black.
            return layer.convert("RGBa").convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(mode)
    if image.mode == "LAB":  # Pillow can convert LAB only to RGB
        image = image.convert("RGB")
    return image.convert(mode)


def _no_range(values: str) -> ImageError:
    return ImageError(
        f"the pixels are {values} of an unknown range; convert the file to unsigned 8-bit or 16-bit integers, "
        "or set data.value_range with data.use=images"
    )
