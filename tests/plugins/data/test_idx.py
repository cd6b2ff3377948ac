"""Reading of idx files: complete, truncated, damaged, foreign."""

import gzip
import math
import struct
from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gankit import InputError
from gankit_plugins.data.idx import idx_shape, read_idx
from tests.plugins.data.image_files import idx


@pytest.fixture
def file(tmp_path):
    return tmp_path / "some-idx3-ubyte"


@given(shape=st.lists(st.integers(0, 5), max_size=4), seed=st.integers(0, 9), packed=st.booleans())
def test_values_are_read_as_written(tmp_path_factory, shape, seed, packed):
    path = tmp_path_factory.mktemp("x") / "idx"
    values = torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    assert idx_shape(path) == tuple(shape)
    read = read_idx(path)
    assert read.dtype == torch.uint8
    assert torch.equal(read, values)


@given(data=st.data(), packed=st.booleans())
def test_truncated_files_are_refused(tmp_path_factory, data, packed):
    path = tmp_path_factory.mktemp("x") / "cut-here"
    whole = idx(torch.arange(24, dtype=torch.uint8).view(2, 3, 4))
    whole = gzip.compress(whole) if packed else whole
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match="cut-here"):
        read_idx(path)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("x") / "any"
    path.write_bytes(data)
    with suppress(InputError):
        values = read_idx(path)
        assert len(data) == 4 + 4 * values.dim() + math.prod(values.shape)


@given(data=st.binary(max_size=60))
def test_any_bytes_after_a_gzip_header_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("x") / "any"
    path.write_bytes(b"\x1f\x8b" + data)
    with pytest.raises(InputError, match="any"):
        read_idx(path)


@pytest.mark.parametrize("size", [2, 2**32 - 1])
def test_files_of_another_length_than_the_header_declares_are_refused(file, size):
    file.write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, size, size, size) + bytes(9))
    with pytest.raises(InputError, match=f"has 9 bytes of values, but its header declares {size**3}"):
        read_idx(file)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x08", "begins with 00 00 08"),
        (b"\x89PNG....", "begins with 89 50 4e 47"),
        (b"\0\0\x0d\x01\0\0\0\x01....", "type 0x0d; only bytes, 0x08"),
        (b"\0\0\x08\x03\0\0\0\x01", "its header is truncated"),
    ],
)
def test_foreign_files_are_refused(file, data, message):
    file.write_bytes(data)
    for read in (idx_shape, read_idx):
        with pytest.raises(InputError, match=message):
            read(file)


def test_a_damaged_gzip_file_is_refused(file):
    packed = bytearray(gzip.compress(idx(torch.arange(200, dtype=torch.uint8))))
    packed[-6] ^= 1  # a byte of the checksum
    file.write_bytes(packed)
    with pytest.raises(InputError, match="gzip data is damaged"):
        read_idx(file)


def test_a_missing_file_is_refused(file):
    with pytest.raises(InputError, match="some-idx3-ubyte: cannot be read: No such file"):
        read_idx(file)
