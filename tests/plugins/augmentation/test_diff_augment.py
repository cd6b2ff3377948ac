"""DiffAugment: each change against a loop, ranges of the random numbers, gradients."""

import pytest
import torch

from gankit_plugins.augmentation import ada
from gankit_plugins.augmentation.diff_augment import POLICIES, DiffAugment, brightness, contrast, cutout, saturation


def images(channels=3, count=3, R=8):
    return torch.rand(count, channels, R, R, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def per_image(values):
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1)


def test_colour_changes_equal_a_loop_over_images():
    x, amounts = images(), [0.0, 0.3, 1.7]
    for i, a in enumerate(amounts):
        torch.testing.assert_close(brightness(x, per_image(amounts))[i], x[i] + a)
        grey = sum(x[i, c] for c in range(3)) / 3
        torch.testing.assert_close(
            saturation(x, per_image(amounts))[i], torch.stack([(x[i, c] - grey) * a + grey for c in range(3)])
        )
        mean = sum(x[i].flatten().tolist()) / x[i].numel()
        torch.testing.assert_close(contrast(x, per_image(amounts))[i], (x[i] - mean) * a + mean)


@pytest.mark.parametrize("side", [4, 5])
def test_the_position_of_the_cutout(side):
    x = images() + 5
    columns, rows = torch.tensor([0, 4, 7]), torch.tensor([3, 4, 0])
    y = cutout(x, columns, rows, side)
    for i in range(3):
        for row in range(8):
            for column in range(8):
                top, left = int(rows[i]) - side // 2, int(columns[i]) - side // 2
                inside = top <= row < top + side and left <= column < left + side
                assert (y[i, 0, row, column] == 0).item() is inside


def augment(policy, x):
    plugin = DiffAugment(DiffAugment.Config(policy=policy))
    torch.manual_seed(0)
    return plugin.discriminator_inputs(images=x, condition=None)[0]


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_gradients_reach_the_images(channels):
    policy = ["color", "translation", "cutout"]
    x = images(channels).requires_grad_()
    d, g = torch.randn_like(x), torch.randn_like(x)
    (gradient,) = torch.autograd.grad((augment(policy, x) * g).sum(), x)
    h = 1e-5
    slope = ((augment(policy, x + h * d) - augment(policy, x - h * d)) * g).sum() / (2 * h)
    torch.testing.assert_close((gradient * d).sum(), slope, atol=1e-6, rtol=1e-6)


def test_shifts_are_at_most_an_eighth_of_the_image():
    y = augment(["translation"], torch.full((200, 1, 16, 16), 1.0))
    assert (y == 0).all(2).sum(2).max() == (y == 0).all(3).sum(2).max() == 2


def test_colour_changes_have_the_ranges_of_the_paper():
    """A uniform grey shows the brightness, two greys the contrast, a pure colour the saturation."""
    plain = augment(["color"], torch.zeros(4000, 3, 2, 2)).flatten(1)[:, 0]
    assert (plain.min().item(), plain.max().item()) == pytest.approx((-0.5, 0.5), abs=0.01)
    halves = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).expand(4000, 3, 2, 2)
    y = augment(["color"], halves)
    factor = (y[..., 0] - y[..., 1])[:, 0, 0] / 2
    assert (factor.min().item(), factor.max().item()) == pytest.approx((0.5, 1.5), abs=0.01)
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(4000, 3, 2, 2)
    difference = augment(["color"], red)[:, 0, 0, 0] - augment(["color"], red)[:, 1, 0, 0]
    # Saturation times contrast: up to 2 times 1.5.
    assert difference.min().item() == pytest.approx(0, abs=0.01)
    assert 2.9 < difference.max().item() <= 3


def test_the_cutout_is_half_as_wide_as_the_image():
    cut = (augment(["cutout"], torch.ones(500, 1, 16, 16)) == 0).flatten(2)
    assert cut.sum(2).max() == 8 * 8


def test_opacity_keeps_its_values_under_changes_of_colour():
    images = torch.rand(6, 4, 5, 5) * 2 - 1
    changed = POLICIES["color"](images)
    assert torch.equal(changed[:, 3], images[:, 3])
    assert not torch.equal(changed[:, :3], images[:, :3])
    # The fourth row of ADA's changes is the opacity too: with probability 1 it is only moved.
    torch.manual_seed(0)
    moved = ada.augment(torch.ones(6, 4, 5, 5), torch.tensor(1.0))
    assert ((moved[:, 3] >= -1) & (moved[:, 3] <= 1)).all()
