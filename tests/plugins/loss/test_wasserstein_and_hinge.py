import pytest
import torch

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit_plugins.loss import hinge, wasserstein

REAL, FAKE = [0.3, -2.0, 1.5], [0.1, 4.0, -1.7]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_critics_loss_is_the_difference_of_means():
    assert wasserstein.critic_loss(double(REAL), double(FAKE)).item() == pytest.approx((sum(FAKE) - sum(REAL)) / 3)
    assert wasserstein.generator_loss(double(FAKE)).item() == pytest.approx(-sum(FAKE) / 3)


def test_the_best_line_of_slope_1_measures_the_distance_of_two_points():
    """Between mass at 0 and mass at 3 the Wasserstein distance is 3: D(x) = -x attains it."""
    x, y = torch.zeros(4, dtype=torch.float64), torch.full((4,), 3.0, dtype=torch.float64)
    assert -wasserstein.critic_loss(-x, -y).item() == pytest.approx(3)


def test_hinge_is_equations_16_and_17_of_miyato():
    expected = sum(max(0, 1 - x) for x in REAL) / 3 + sum(max(0, 1 + x) for x in FAKE) / 3
    assert hinge.discriminator_loss(double(REAL), double(FAKE)).item() == pytest.approx(expected)
    assert hinge.generator_loss(double(FAKE)).item() == pytest.approx(-sum(FAKE) / 3)


def test_beyond_the_margin_hinge_teaches_d_nothing():
    real = torch.tensor([1.5, 0.5, -1.0], requires_grad=True)
    fake = torch.tensor([-1.5, -0.5, 1.0], requires_grad=True)
    hinge.discriminator_loss(real, fake).backward()
    torch.testing.assert_close(real.grad, torch.tensor([0, -1 / 3, -1 / 3]))
    torch.testing.assert_close(fake.grad, torch.tensor([0, 1 / 3, 1 / 3]))


@pytest.mark.parametrize("use", ["wasserstein", "hinge"])
@pytest.mark.parametrize("base", ["igan", "igan_vn"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_a_run(in_a_run, use, base, precision):
    in_a_run({"loss": {"use": use}, "train": {"precision": precision}}, base=base)


@pytest.mark.parametrize(
    ("change", "advised"),
    [
        ({}, True),
        ({"tricks": {"gradient_penalty": {}}}, False),
        ({"tricks": {"weight_clipping": {}}}, False),
        ({"normalization": {"discriminator": "spectral_norm"}}, False),
    ],
)
def test_a_critic_without_a_bound_is_advised_against(plain_recipe, change, advised):
    raw = merge(merge(plain_recipe("igan"), {"loss": {"use": "wasserstein"}}), change)
    assert any("nothing bounds the critic's slope" in s for s in assemble(Recipe.from_dict(raw)).advice) is advised
