"""Complete runs of the IGAN family, on disk: each change has an effect, and a resumed run ends with the same bytes."""

import pytest

from gankit import InputError, Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble

CHANGES = {
    "label_smoothing, flipped ranges": {"tricks": {"label_smoothing": {"real": [0.0, 0.1], "fake": [0.9, 1.0]}}},
    "gradient_penalty, lazy": {"tricks": {"gradient_penalty": {"every": 3}}},
    "dropout": {"tricks": {"dropout": {"p": 0.3, "layers": [0, 1]}}},
    "batch_norm in D": {"normalization": {"discriminator": {"use": "batch_norm"}}},
    "uniform": {"latent": {"use": "uniform"}},
    "pixel_shuffle": {"generator": {"upsampling": "pixel_shuffle"}},
    "igan_v2": {"generator": {"use": "igan_v2", "channels": 3}},
    "igan": {"generator": {"use": "igan", "channels": 2}, "discriminator": {"use": "igan", "width": 2}},
    "accumulate": {"train": {"accumulate": 2}},
    "bf16": {"train": {"precision": "bf16"}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_change_has_an_effect_and_resumes_exactly(name, in_a_run):
    in_a_run(CHANGES[name])


def test_igan_label_without_weights_equals_non_saturating(in_a_run):
    in_a_run({"loss": {"use": "non_saturating"}}, changes=False)


EARLY = """
import torch
from gankit import Plugin, hookimpl

class Early(Plugin):
    name = "early"

    @hookimpl
    def on_start(self):
        torch.randn(3)
"""


def test_random_numbers_in_on_start_do_not_change_the_training(in_a_run, tmp_path):
    (tmp_path / "early.py").write_text(EARLY)
    in_a_run({"tricks": {"early": {"use": f"{tmp_path}/early.py:Early"}}}, changes=False)


NETS = """
from torch import nn

class Small(nn.Module):
    def __init__(self, size=(4, 4)):
        super().__init__()
        self.size, self.layer = size, nn.Linear(100, 3 * 4 * 4)

    def forward(self, z):
        return self.layer(z).view(-1, 3, *self.size)
"""


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        (
            {"generator": {"use": "FILE:Small"}},
            r"generator: returns a tensor of shape \(2, 3, 4, 4\); it must return images of shape",
        ),
        ({"discriminator": {"use": "FILE:Small"}}, "discriminator: does not accept images of shape"),
    ],
)
def test_networks_of_wrong_shape_are_refused_before_training(slot, message, plain_recipe, tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    slot = {key: {"use": table["use"].replace("FILE", f"{tmp_path}/nets.py")} for key, table in slot.items()}
    with pytest.raises(InputError, match=message):
        assemble(Recipe.from_dict(merge(plain_recipe(), slot)))
