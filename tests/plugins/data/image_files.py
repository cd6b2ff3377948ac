"""Image files for the tests of datasets."""

import io
import struct
import zlib

from PIL import Image

from gankit.testing import check_dataset


def encoded(image, kind="PNG", **options):
    """Return the content of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(mode, colour, size=(12, 8)):
    """Return an image of one colour."""
    return Image.new(mode, size, colour)


def colour(pixels):
    """Return the colour of an image of one colour."""
    flat = pixels.flatten(1)
    assert (flat == flat[:, :1]).all()
    return flat[:, 0].tolist()


def png_of_size(width, height):
    """Return a PNG file that declares a size and has no pixels."""
    return _png(width, height, 8, 2, b"")


def png(depth, colour_type, row, key=None):
    """Return a PNG file of 2 x 1 pixels. `key` is its transparent value or colour."""
    return _png(2, 1, depth, colour_type, b"\0" + row, key)


def _png(width, height, depth, colour_type, rows, key=None):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + transparent + pixels + chunk(b"IEND", b"")


def tiff(pixels, bits, size=(2, 2), photometric=1, sample_format=1, alpha=None):
    """Return an uncompressed grey TIFF file, with black as 0 (`photometric` 1) or white as 0.

    `alpha` is the meaning of a second value of each pixel: 1 for premultiplied, 2 for other alpha.
    """
    tags = {256: [size[0]], 257: [size[1]], 258: [bits], 259: [1], 262: [photometric], 278: [size[1]], 277: [1]}
    tags |= {339: [sample_format]} if alpha is None else {258: [bits, bits], 277: [2], 338: [alpha]}
    tags |= {273: [8 + 2 + 12 * (len(tags) + 2) + 4], 279: [len(pixels)]}  # position and number of the bytes
    entries = b"".join(
        struct.pack("<HHIHH", tag, 3, len(values), *values, *[0] * (2 - len(values)))
        for tag, values in sorted(tags.items())
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels


def tga(bits, pixels, alpha_bits):
    """Return an uncompressed TGA file of 2 x 1 colours, whose header says how many alpha bits a pixel has."""
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 2, 1, bits, alpha_bits | 0x20) + pixels


def idx(values):
    """Return the content of an idx file."""
    return struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape) + bytes(values.flatten().tolist())


def assert_photos(data, numbers, labels):
    """Check that a dataset contains images of the colours (number, 0, 7), with these labels or with None."""
    images, condition, _ = data.read()
    assert [colour(image) for image in images] == [[number, 0, 7] for number in numbers]
    assert (None if condition is None else condition.tolist()) == labels
    check_dataset(data)
