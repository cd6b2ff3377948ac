"""Many files, decoded by processes: in order, a little ahead, and nothing is left running."""

import io
import os
import signal
import struct
import subprocess
import sys
import warnings
import zlib

import pytest
from PIL import Image

from gankit import GankitError
from gankit_plugins.data import decode_all as module
from gankit_plugins.data.decode import ImageError, decode
from gankit_plugins.data.decode_all import decode_all
from gankit_plugins.data.decoder import Decoder


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(mode, colour, size=(12, 8)):
    return Image.new(mode, size, colour)


def colour(pixels):
    """Of an image of one colour."""
    flat = pixels.flatten(1)
    assert (flat == flat[:, :1]).all()
    return flat[:, 0].tolist()


def decoded(box):
    """What is found of a box's files, which come with their names."""
    found = list(decode_all(box, box.names(), 4, 1))
    assert [file for file, _ in found] == box.names()
    return [image for _, image in found]


def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


class Box:
    """Files in memory."""

    def __init__(self, files, sizes=None):
        self.files, self.sizes, self.taken = files, sizes or {}, []

    def names(self):
        return list(self.files)

    def path(self, name):
        return None

    def size(self, name):
        return self.sizes.get(name, 0)

    def read(self, name):
        self.taken.append(name)
        if isinstance(self.files[name], Exception):
            raise self.files[name]
        return self.files[name]


def test_many_are_decoded_in_order():
    box = Box({f"{i}.png": encoded(plain("L", i)) for i in range(200)})
    images = decoded(box)
    assert [colour(image) for image in images] == [[i] for i in range(200)]


def test_only_a_little_is_read_ahead(monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: {0, 1, 2})
    box = Box({f"{i}.png": encoded(plain("L", 1)) for i in range(2000)})
    stream = decode_all(box, box.names(), 4, 1)
    for _ in range(10):
        next(stream)
    stream.close()
    assert 10 <= len(box.taken) <= (2 + module.AHEAD) * 3 * module.TOGETHER


@pytest.mark.parametrize(
    "trouble",
    [OSError(5, "Input/output error"), RuntimeError("encrypted"), NotImplementedError("unknown"), zlib.error("bad")],
)
def test_a_file_that_cannot_be_read_is_one_bad_image(trouble):
    box = Box({"good.png": encoded(plain("L", 1)), "bad.png": trouble, "last.png": encoded(plain("L", 2))})
    first, bad, last = decoded(box)
    assert (colour(first), colour(last)) == ([1], [2])
    assert isinstance(bad, ImageError)
    assert str(bad) == str(trouble)


def test_a_huge_file_is_not_read():
    box = Box({"bomb.png": b""}, {"bomb.png": 2**40})
    (bad,) = decoded(box)
    assert "1099511627776 bytes are more" in str(bad)
    assert box.taken == []


def test_large_images_bring_no_warning():
    box = Box({"large.png": png_of_size(12000, 10000)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (bad,) = decoded(box)
    assert "truncated" in str(bad)


@pytest.fixture
def decoder():
    decoder = Decoder(4, 3)
    yield decoder
    decoder.end()


def test_a_process_decodes_as_this_one_does(decoder, tmp_path):
    photo = encoded(Image.effect_noise((60, 50), 80).convert("RGB"), "JPEG")
    clear = encoded(plain("RGBA", (1, 2, 3, 100)))
    path = tmp_path / "newline\nand \udcff.jpg"
    path.write_bytes(photo)
    expected = decode(photo, 4, 3), decode(clear, 4, 3)
    for _ in range(2):
        one, bad, two, three = decoder.decode([photo, b"\xff no image", clear, str(path)])
        assert (one, two, three) == (*expected, expected[0])
        assert isinstance(bad, ImageError)
        assert str(bad) == "not an image, or of a kind that cannot be read"
    assert decoder.decode([]) == []


def test_more_than_the_pipes_hold(decoder):
    large = encoded(Image.effect_noise((300, 300), 80), compress_level=0)
    assert decoder.decode([large] * 20) == [decode(large, 4, 3)] * 20


def test_files_that_a_process_cannot_read_are_bad_images(decoder, tmp_path):
    with open(tmp_path / "bomb.png", "wb") as file:
        file.truncate(2**30 + 1)
    gone, huge = decoder.decode([f"{tmp_path}/gone.png", f"{tmp_path}/bomb.png"])
    assert str(gone) == f"[Errno 2] No such file or directory: '{tmp_path}/gone.png'"
    assert str(huge) == "1073741825 bytes are more than the 1073741824 that are read"


def test_a_process_that_is_no_more_is_a_sentence(decoder):
    decoder.process.kill()
    with pytest.raises(GankitError, match="has ended before its time, with exit status -9"):
        decoder.decode([encoded(plain("L", 1))])


def test_a_process_ends_with_the_one_that_asks(decoder):
    decoder.process.stdin.close()
    assert decoder.process.wait(10) == 0


def test_ctrl_c_is_not_for_a_process_that_decodes(decoder):
    assert os.getpgid(decoder.process.pid) != os.getpgid(0)


def test_no_process_is_left_whoever_stops_asking(monkeypatch):
    started = []
    begin = Decoder.__init__
    monkeypatch.setattr(Decoder, "__init__", lambda self, *given: (begin(self, *given), started.append(self))[0])
    box = Box({f"{i}.png": encoded(plain("L", 1)) for i in range(2000)})
    stream = decode_all(box, box.names(), 4, 1)
    next(stream)
    stream.close()
    assert started
    assert all(decoder.process.returncode == -signal.SIGKILL for decoder in started)


def test_a_process_that_decodes_needs_no_torch():
    code = "import sys, gankit_plugins.data.decoder; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_what_lies_in_the_current_folder_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "PIL.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    decoder = Decoder(4, 1)
    try:
        assert decoder.decode([encoded(plain("L", 7))]) == [bytes([7] * 16)]
    finally:
        decoder.end()


def test_what_else_is_printed_when_python_starts_is_no_answer(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('a greeting, longer than a number', flush=True)")
    monkeypatch.syspath_prepend(str(tmp_path))
    decoder = Decoder(4, 1)
    try:
        assert decoder.decode([encoded(plain("L", 7))]) == [bytes([7] * 16)]
    finally:
        decoder.end()
