"""Image files for the tests of datasets."""

import io
import struct
import zlib

from PIL import Image


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

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def idx(values):
    """Return the content of an idx file."""
    return struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape) + bytes(values.flatten().tolist())
