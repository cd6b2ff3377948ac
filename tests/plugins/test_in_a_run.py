"""The IGAN family and its tricks in a run: each changes the run, and a resumed run ends with the same bytes."""

import pytest

from gankit import InputError, Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble

CHANGES = {
    "label_smoothing": {"tricks": {"label_smoothing": {}}},
    "label_smoothing, flipped and drawn": {"tricks": {"label_smoothing": {"real": [0.0, 0.1], "fake": [0.9, 1.0]}}},
    "label_weights": {"tricks": {"label_weights": {"alpha": [0.5, 1.0], "beta": 0.7}}},
    "instance_noise": {"tricks": {"instance_noise": {"sigma": 0.2, "over": 3}}},
    "gradient_penalty": {"tricks": {"gradient_penalty": {}}},
    "gradient_penalty, lazy": {"tricks": {"gradient_penalty": {"every": 3}}},
    "dropout": {"tricks": {"dropout": {"p": 0.3, "layers": [0, 1]}}},
    "batch_norm in D": {"normalization": {"discriminator": {"use": "batch_norm"}}},
    "step": {"lr_schedule": {"use": "step", "every": 1}},
    "polynomial": {"lr_schedule": {"use": "polynomial", "iterations": 9}},
    "inverse": {"lr_schedule": {"use": "inverse", "gamma": 0.1}},
    "igan_dynamic": {"lr_schedule": {"use": "igan_dynamic"}},
    "uniform": {"latent": {"use": "uniform"}},
    "pixel_shuffle": {"generator": {"upsampling": "pixel_shuffle"}},
    "igan_v2": {"generator": {"use": "igan_v2", "channels": 3}},
    "igan": {"generator": {"use": "igan", "channels": 2}, "discriminator": {"use": "igan", "width": 2}},
    "accumulate": {"train": {"accumulate": 2}},
    "bf16": {"train": {"precision": "bf16"}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_changes_the_run_and_resumes_to_the_byte(name, in_a_run):
    in_a_run(CHANGES[name])


def test_the_other_loss_is_the_same_one_while_nothing_is_weighted(in_a_run):
    """`igan_label` without weights computes what `non_saturating` does, as its documentation says."""
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


def test_what_a_plugin_draws_to_get_ready_shifts_nothing(in_a_run, tmp_path):
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
    ("slot", "said"),
    [
        ({"generator": {"use": "FILE:Small"}}, r"generator: returns a tensor of shape \(2, 3, 4, 4\); images of shape"),
        ({"discriminator": {"use": "FILE:Small"}}, "discriminator: does not take images of shape"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_training(slot, said, plain_recipe, tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    slot = {key: {"use": table["use"].replace("FILE", f"{tmp_path}/nets.py")} for key, table in slot.items()}
    with pytest.raises(InputError, match=said):
        assemble(Recipe.from_dict(merge(plain_recipe(), slot)))
