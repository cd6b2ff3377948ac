"""`gankit prepare`."""

import sys

import pytest
import torch

from gankit.data.prepared import read_prepared
from tests.gankit.cli.conftest import Terminal


@pytest.fixture
def prepare(gankit, toy):
    return lambda *arguments, of="Blobs", out="it.safetensors": gankit(
        "prepare", f"./toy.py:{of}", "--out", out, *arguments
    )


def test_a_dataset_is_written_to_a_file(prepare, toy):
    answer = prepare("resolution=16", "count=7", "channels=3", out="new/it.safetensors")
    assert (answer.code, answer.err) == (0, "")
    size = (toy / "new" / "it.safetensors").stat().st_size
    assert size > 7 * 3 * 16 * 16
    assert answer.out == f"7 images of 3x16x16, 2 classes, {size / 1e6:.1f} MB: new/it.safetensors\n"
    dataset = read_prepared(toy / "new" / "it.safetensors")
    images, labels, _ = dataset.load()
    assert dataset.class_names == ("a", "b")
    assert images.shape == (7, 3, 16, 16)
    assert torch.equal(labels, torch.arange(7) % 2)
    assert "40 images of 1x8x8, no classes" in prepare("classes=0").out
    assert "must end in .safetensors" in prepare(out="it.png").err


@pytest.mark.parametrize(
    ("plugin", "override", "expected"),
    [
        ("Blobs", "resolution=0", "error: gankit prepare: data.resolution: 0 given; "),
        ("Blobs", "resolutoin=8", "did you mean 'resolution'?"),
        ("Blobs", "count=0", "the data plugin has loaded no images"),
        ("Slow", "count=1", "is a plugin for trick, not for data"),
    ],
)
def test_errors(prepare, toy, plugin, override, expected):
    answer = prepare(override, of=plugin)
    assert (answer.code, answer.out) == (2, "")
    assert all(line.startswith("error: ") for line in answer.err.splitlines())
    assert expected in answer.err
    assert not (toy / "it.safetensors").exists()


def test_a_bar_counts_images_on_a_terminal(prepare, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    for name, value in {"TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    answer = prepare("count=250")
    assert "250/250" in sys.stderr.getvalue()
    assert answer.out.startswith("250 images of 1x8x8, 2 classes")
