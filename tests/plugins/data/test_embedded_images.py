"""Images with embedded captions: by a user's class, in a prepared file, in a run, and for a requested text."""

from pathlib import Path

import pytest
import torch

from gankit import InputError, Sampler, VectorCondition, prepare
from gankit_plugins.data.embedded_images import EmbeddedImages
from tests.plugins.conftest import train
from tests.plugins.data.image_files import plain

CODE = '''
"""Encoder of sentences for a test."""

import torch
from gankit_plugins.data.embedded_images import EmbeddedImages


class Lengths(EmbeddedImages):
    """Images with the lengths of their captions as embeddings.

    Source: none, an example.
    """

    name = "lengths"
    embedded = []

    def embed(self, texts):
        self.embedded.append(list(texts))
        return torch.tensor([[len(text) / 10, text.count("a"), 1.0] for text in texts])
'''


class Lengths(EmbeddedImages):
    """The same class, for calls without a run."""

    name = "lengths"

    def embed(self, texts):
        self.embedded = [*getattr(self, "embedded", []), *texts]
        return torch.tensor([[len(text) / 10, text.count("a"), 1.0] for text in texts])


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        plain("RGB", (30 * number, 90, 200)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a bird\n" + "a " * number)
    return folder


def test_each_caption_is_embedded_once_when_the_images_are_read(photos, tmp_path):
    plugin = Lengths(Lengths.Config(path=photos, resolution=8))
    data = plugin.load_data()
    assert plugin.embedded == ["a bird"]  # one text, to find the size
    assert data.condition == VectorCondition(("embedding_0", "embedding_1", "embedding_2"))
    rows = data.read()
    assert len(plugin.embedded) == 1 + 8  # "a bird" and the other captions; that of image 0 has one line
    torch.testing.assert_close(rows.condition, torch.tensor([[0.6, 1, 1]] * 8))
    assert rows.fields["captions"].shape == (8, 2, 3)
    assert rows.fields["captions"][:, 1, 1].tolist() == [1, 1, 2, 3, 4, 5, 6, 7]
    prepare(data, tmp_path / "photos.safetensors", "photos")
    again = Lengths(Lengths.Config(path=tmp_path / "photos.safetensors"))
    assert torch.equal(again.load_data().read().condition, rows.condition)
    assert not hasattr(again, "embedded")


def test_a_run_samples_the_embedding_of_a_text(photos, tmp_path):
    (tmp_path / "lengths.py").write_text(CODE)
    raw = {
        "train": {"iterations": 2, "batch_size": 4, "device": "cpu"},
        "output": {"log_every": 1, "checkpoint_every": 2, "sample_every": 2, "sample_count": 2},
        "data": {"use": f"{tmp_path / 'lengths.py'}:Lengths", "path": str(photos), "resolution": 8},
        "latent": {"use": "normal", "size": 5},
        "generator": {"use": "stackgan", "width": 1, "condition_size": 3},
        "discriminator": {"use": "stackgan", "width": 4, "compressed_size": 3},
        "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}},
        "tricks": {"mismatched_pairs": {}, "random_caption": {}},
    }
    file = train(raw, tmp_path / "run") / "generator.safetensors"
    with pytest.raises(InputError, match="if you trust it, add --trust"):
        Sampler.load(file)
    sampler = Sampler.load(file, trust=True)
    torch.testing.assert_close(sampler.conditions(2, {"text": "a cat"}), torch.tensor([[0.5, 2, 1]] * 2))
    with pytest.raises(InputError, match="age: the generator takes texts; use --text"):
        sampler.conditions(2, {"age": 3})
    assert sampler.conditions(3).shape == (3, 3)
    assert Path(file).stat().st_size < 2_000_000
