"""Plugins and networks from a user's own files, in runs of the IGAN family."""

import pytest

from gankit import InputError
from gankit.testing import train_iterations, weights_of

FILE = """
import torch
from torch import nn
from gankit import Plugin, hookimpl

class Early(Plugin):
    name = "early"

    @hookimpl
    def on_start(self):
        torch.randn(3)

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(100, 3 * 4 * 4)

    def forward(self, z):
        return self.layer(z).view(-1, 3, 4, 4)
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    return f"{tmp_path}/own.py"


def test_random_numbers_in_on_start_do_not_change_the_training(start_run, file):
    changes = {"tricks": {"early": {"use": f"{file}:Early"}}}, {}
    early, plain = (weights_of(train_iterations(start_run(change))) for change in changes)
    assert early == plain


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ("generator", r"generator: returns a tensor of shape \(2, 3, 4, 4\); it must return images of shape"),
        ("discriminator", "discriminator: does not accept images of shape"),
    ],
)
def test_networks_of_wrong_shape_are_refused_before_training(assembled, file, slot, message):
    with pytest.raises(InputError, match=message):
        assembled({slot: {"use": f"{file}:Small"}}, "igan_vn")
