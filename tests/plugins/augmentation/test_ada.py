"""ADA: distribution of the changes, adaptation of p, gradients."""

import math
from types import SimpleNamespace

import pytest
import torch

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit_plugins.augmentation.ada import (
    Ada,
    adapt,
    augment,
    colour_matrices,
    direction,
    grey_changes,
    hue_rotations,
    overfitting,
    random_maps,
)


def images(channels=3, count=8, R=8):
    return torch.rand(count, channels, R, R, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_p_0_changes_no_bit(channels, dtype):
    x = images(channels).to(dtype)
    y = augment(x, torch.tensor(0.0))
    assert torch.equal(y, x)
    assert y.dtype == dtype


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_the_proportion_of_unchanged_images(p):
    """Half of the flips and a quarter of the rotations change nothing, and small shifts are rounded to 0."""
    torch.manual_seed(0)
    maps = random_maps(torch.tensor(p), 20_000, 64, 64)
    unchanged = (maps == torch.eye(3)).all((1, 2)).double().mean().item()
    rounds_to_0 = 1 / 16
    expected = (1 - p / 2) * (1 - p * 3 / 4) * (1 - p * (1 - rounds_to_0**2)) * (1 - p) ** 2 * (1 - p) * (1 - p)
    assert unchanged == pytest.approx(expected, abs=0.01)


def test_hue_rotations_preserve_grey_and_length():
    angle = torch.tensor([0.3, -2.0])
    R = hue_rotations(angle)
    torch.testing.assert_close(R @ torch.ones(3), torch.ones(2, 3))
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3).expand(2, 3, 3), atol=1e-6, rtol=0)
    third = hue_rotations(torch.tensor([2 * math.pi / 3]))
    torch.testing.assert_close(third[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


def test_colour_changes_preserve_grey():
    torch.manual_seed(0)
    greys = colour_matrices(torch.tensor(1.0), 500) @ torch.ones(3)
    assert (greys.std(1) < 1e-5).all()
    assert {round(g, 3) for g in greys.mean(1).tolist()} == {1.0, -1.0}


def test_r_and_the_step_of_p():
    assert overfitting(torch.tensor([3.0, -1.0, 0.5, 2.0])).item() == 0.5
    p = torch.tensor(0.5)
    assert adapt(p, torch.tensor(0.7), 0.6, 0.01, 1.0).item() == pytest.approx(0.51)
    assert adapt(p, torch.tensor(0.5), 0.6, 0.01, 1.0).item() == pytest.approx(0.49)
    assert adapt(torch.tensor(0.795), torch.tensor(0.9), 0.6, 0.01, 0.8).item() == pytest.approx(0.8)
    assert adapt(torch.tensor(0.005), torch.tensor(0.1), 0.6, 0.01, 0.8).item() == 0


def test_p_follows_the_sign_of_the_mean():
    """A change of p takes two steps of 4 images, and 100 images change p by 1."""
    recipe = SimpleNamespace(train=SimpleNamespace(batch_size=4))
    run = SimpleNamespace(device=torch.device("cpu"), recipe=recipe, ranks=SimpleNamespace(mean=lambda x: x))
    for logits, expected in [((1.0, 1.0), 0.58), ((1.0, -1.0), 0.42)]:
        plugin = Ada(Ada.Config(every=2, kimg=0.1, initial=0.5))
        plugin.on_start(run=run)
        output = SimpleNamespace(logits=torch.tensor(logits))
        for _ in range(2):
            step = SimpleNamespace(real_output=output, real_target=1.0, fake_target=0.0)
            plugin.after_d_step(run=run, step=step)
        assert plugin.p.item() == pytest.approx(expected)
        assert plugin.log_values() == {"ada_p": plugin.p}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"loss": {"use": "least_squares"}}, ["least_squares"]),
        ({"tricks": {"relativistic": {}}}, ["relativistic"]),
        ({}, []),
    ],
)
def test_losses_whose_logits_have_no_sign_cause_a_warning(plain_recipe, change, named):
    recipe = Recipe.from_dict(merge(plain_recipe("igan"), change))
    warnings = list(Ada(Ada.Config()).check_recipe(recipe=recipe))
    assert [warning.partition(" with ")[2].partition(";")[0] for warning in warnings] == named


def test_exchanged_targets_reverse_the_direction():
    device = torch.device("cpu")
    assert direction(1.0, 0.0, device).item() == 1
    assert direction(torch.tensor([0.1, 0.0]), torch.tensor([0.9, 1.0]), device).item() == -1


def test_changes_have_the_sizes_of_the_paper():
    """Standard deviations at p = 1, from the determinants and entries of the maps."""
    torch.manual_seed(0)
    p, count = torch.tensor(1.0), 20_000
    maps = random_maps(p, count, 64, 64)
    # Only isotropic scaling changes the area: (2^(0.2 N))^2.
    area = maps[:, :2, :2].det().abs().log2()
    assert area.std().item() == pytest.approx(2 * 0.2, rel=0.03)
    # Ratio of the singular values: 2^(2 * 0.2 |N|).
    stretch = torch.linalg.svdvals(maps[:, :2, :2]).log2()
    assert (stretch[:, 0] - stretch[:, 1]).square().mean().sqrt().item() == pytest.approx(2 * 0.2, rel=0.03)
    # Uniform whole pixels up to an eighth of the width, then N(0, 0.125^2) of the width, which is 2.
    whole = torch.arange(-8, 9) / 64
    weight = torch.tensor([0.5] + [1.0] * 15 + [0.5]) / 16
    # Both scalings multiply the first shift by their mean square, in all directions.
    growth = math.exp((0.4 * math.log(2)) ** 2)
    expected = 4 * ((whole**2 * weight).sum().item() * growth + 0.125**2)
    assert maps[:, :2, 2].square().mean().item() == pytest.approx(expected, rel=0.05)
    # Rotations by all angles: the direction of the first column is uniform.
    angle = torch.atan2(maps[:, 1, 0], maps[:, 0, 0])
    assert angle.cos().mean().item() == pytest.approx(0, abs=0.03)
    assert (2 * angle).cos().mean().item() == pytest.approx(0, abs=0.03)
    factor, summand = grey_changes(p, count)
    assert factor.log2().std().item() == pytest.approx(0.5, rel=0.03)
    assert (summand / factor).std().item() == pytest.approx(0.2, rel=0.03)
    colours = colour_matrices(p, count)
    # The saturation, 2^N(0, 1), scales the two directions orthogonal to the grey axis.
    saturation = colours.det().abs().log2() / 2
    assert saturation.std().item() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_reach_the_images(channels):
    x = images(channels).requires_grad_()

    def augmented(images):
        torch.manual_seed(1)
        return augment(images, torch.tensor(0.7))

    d, g = torch.randn_like(x), torch.randn_like(x)
    (gradient,) = torch.autograd.grad((augmented(x) * g).sum(), x)
    # The augmentation is linear in the images, apart from the black border.
    change = ((augmented(x + d) - augmented(x)) * g).sum()
    torch.testing.assert_close((gradient * d).sum(), change, atol=2e-3, rtol=1e-3)
