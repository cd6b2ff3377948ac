"""`gankit prepare`."""

import sys

import pytest
import torch

from gankit.data.prepared import read_prepared
from tests.gankit.cli.conftest import Terminal

SIZED = '''
import torch
from pydantic import Field
from gankit import Dataset, InputError, Plugin, Settings, hookimpl


class Sized(Plugin):
    """Grey images of any size."""

    name, kind = "sized", "data"

    class Config(Settings):
        resolution: int = Field(8, ge=4, description="side")
        count: int = 10
        labelled: bool = True

    @hookimpl
    def load_data(self):
        c = self.config
        if c.resolution == 13:
            raise InputError("not 13 [pixels]")
        images = torch.arange(c.count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, c.resolution, c.resolution)
        labels = torch.arange(c.count) % 2 if c.labelled else None
        return Dataset(3, c.resolution, ("even", "odd") if c.labelled else (), lambda: (images, labels))
'''


@pytest.fixture
def sized(toy):
    (toy / "sized.py").write_text(SIZED)
    return toy


def test_a_dataset_is_written_to_a_file(gankit, sized):
    answer = gankit("prepare", "./sized.py:Sized", "--out", "new/it.safetensors", "resolution=16", "count=7")
    assert (answer.code, answer.err) == (0, "")
    size = (sized / "new" / "it.safetensors").stat().st_size
    assert size > 7 * 3 * 16 * 16
    assert answer.out == f"7 images of 3x16x16, 2 classes, {size / 1e6:.1f} MB: new/it.safetensors\n"
    dataset = read_prepared(sized / "new" / "it.safetensors")
    images, labels = dataset.load()
    assert dataset.class_names == ("even", "odd")
    assert torch.equal(images[:, 0, 0, 0], torch.arange(7, dtype=torch.uint8))
    assert torch.equal(labels, torch.arange(7) % 2)
    unlabelled = gankit("prepare", "./sized.py:Sized", "--out", "x.safetensors", "labelled=false")
    assert "10 images of 3x8x8, no classes" in unlabelled.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["./sized.py:Sized", "resolution=2"], "gankit prepare: data.resolution: 2 given; "),
        (["./sized.py:Sized", "resolutoin=8"], "did you mean 'resolution'?"),
        (["./sized.py:Sized", "resolution=13"], "not 13 [pixels]"),
        (["./sized.py:Sized", "resolution"], "an override is key=value"),
        (["./sized.py:Seized"], "did you mean 'Sized'?"),
        (["./toy.py:Slow"], "is a plugin for trick, not for data"),
        (["no_such_data"], "no data called 'no_such_data' is installed"),
        (["./sized.py:Sized", "count=0"], "there are no images to write"),
    ],
)
def test_errors(gankit, sized, arguments, expected):
    answer = gankit("prepare", *arguments, "--out", "it.safetensors")
    assert (answer.code, answer.out) == (2, "")
    assert all(line.startswith("error: ") for line in answer.err.splitlines())
    assert expected in answer.err
    assert not (sized / "it.safetensors").exists()


def test_wrong_suffix_of_the_file(gankit, sized):
    answer = gankit("prepare", "./sized.py:Sized", "--out", "it.png")
    assert answer.code == 2
    assert "must end in .safetensors" in answer.err


def test_a_bar_counts_images_on_a_terminal(gankit, sized, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    for name, value in {"TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    answer = gankit("prepare", "./sized.py:Sized", "--out", "it.safetensors", "count=250")
    assert "250/250" in sys.stderr.getvalue()
    assert answer.out.startswith("250 images of 3x8x8, 2 classes")
