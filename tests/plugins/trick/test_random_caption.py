"""Random captions: all captions of an image are drawn, in both steps."""

import pytest
import torch

from gankit import InputError
from gankit.testing import check_plugin
from gankit.training.update import draw_step
from gankit_plugins.trick.random_caption import RandomCaption, choose
from tests.plugins.data.image_files import plain

STACKGAN = {
    "latent": {"use": "normal", "size": 5},
    "generator": {"use": "stackgan", "width": 1, "text_size": 4, "condition_size": 3},
    "discriminator": {"use": "stackgan", "width": 4, "text_size": 4, "compressed_size": 3},
    "normalization": {"discriminator": {"use": "none"}},
}


@pytest.fixture
def data(tmp_path):
    """Table of a recipe for eight images with two captions each."""
    for number in range(8):
        plain("RGB", (30 * number, 90, 200)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"number {number}\nthe {number} again")
    return {"data": {"use": "images", "path": str(tmp_path), "resolution": 8, "captions": True}}


def test_one_caption_of_each_image_is_drawn():
    captions = torch.arange(12).view(2, 3, 2)
    torch.manual_seed(0)
    drawn = torch.stack([choose(captions) for _ in range(100)])
    assert drawn.shape == (100, 2, 2)
    for image in (0, 1):
        assert set(map(tuple, drawn[:, image].tolist())) == set(map(tuple, captions[image].tolist()))


def test_both_steps_have_random_captions_of_their_images(start_run, data):
    run = start_run(STACKGAN | data | {"tricks": {"random_caption": {}}})
    for player in ("discriminator", "generator"):
        steps = [draw_step(run, player) for _ in range(8)]
        assert all((step.condition[:, None] == step.fields["captions"]).all(2).any(1).all() for step in steps)
        first = torch.cat([(step.condition == step.fields["captions"][:, 0]).all(1) for step in steps])
        assert 0 < first.float().mean() < 1
        assert steps[0].fake.requires_grad == (player == "generator")


def test_the_plugin_passes_all_checks(data):
    check_plugin(RandomCaption, changes=STACKGAN | data, classes=(0,))


def test_images_with_one_caption_are_refused(start_run):
    with pytest.raises(InputError, match="no image has several captions, so there is no choice; remove random_caption"):
        start_run({"tricks": {"random_caption": {}}})
