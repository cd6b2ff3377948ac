"""Losses without targets: Wasserstein and hinge."""

import pytest
import torch

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit_plugins.loss.hinge import Hinge
from gankit_plugins.loss.wasserstein import Wasserstein

REAL, FAKE = [0.3, -2.0, 1.5], [0.1, 4.0, -1.7]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_critic_loss_is_the_difference_of_means():
    value = Wasserstein.discriminator_loss(double(REAL), double(FAKE)).item()
    assert value == pytest.approx((sum(FAKE) - sum(REAL)) / 3)
    assert Wasserstein.generator_loss(double(FAKE)).item() == pytest.approx(-sum(FAKE) / 3)


def test_optimal_critic_gives_the_distance_of_two_points():
    """The Wasserstein distance between mass at 0 and mass at 3 is 3: D(x) = -x attains it."""
    x, y = torch.zeros(4, dtype=torch.float64), torch.full((4,), 3.0, dtype=torch.float64)
    assert -Wasserstein.discriminator_loss(-x, -y).item() == pytest.approx(3)


def test_hinge_is_equations_16_and_17_of_miyato():
    expected = sum(max(0, 1 - x) for x in REAL) / 3 + sum(max(0, 1 + x) for x in FAKE) / 3
    assert Hinge.discriminator_loss(double(REAL), double(FAKE)).item() == pytest.approx(expected)
    assert Hinge.generator_loss(double(FAKE)).item() == pytest.approx(-sum(FAKE) / 3)


def test_hinge_has_no_gradient_beyond_the_margin():
    real = torch.tensor([1.5, 0.5, -1.0], requires_grad=True)
    fake = torch.tensor([-1.5, -0.5, 1.0], requires_grad=True)
    Hinge.discriminator_loss(real, fake).backward()
    torch.testing.assert_close(real.grad, torch.tensor([0, -1 / 3, -1 / 3]))
    torch.testing.assert_close(fake.grad, torch.tensor([0, 1 / 3, 1 / 3]))


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ({}, True),
        ({"tricks": {"gradient_penalty": {}}}, False),
        ({"tricks": {"weight_clipping": {}}}, False),
        ({"normalization": {"discriminator": "spectral_norm"}}, False),
    ],
)
def test_unbounded_critic_causes_a_warning(plain_recipe, change, warned):
    raw = merge(merge(plain_recipe("igan"), {"loss": {"use": "wasserstein"}}), change)
    assert any("nothing bounds the critic's slope" in s for s in assemble(Recipe.from_dict(raw)).warnings) is warned
