"""Flip, rotation, scale and crop: the images by hand, and gradients."""

import math

import pytest
import torch
from pydantic import ValidationError

from gankit import InputError, Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit_plugins.augmentation.affine import rotations, scalings, shifts, warp
from gankit_plugins.augmentation.crop import Crop, crop
from gankit_plugins.augmentation.flip import Flip, flip
from gankit_plugins.augmentation.rotation import Rotation
from gankit_plugins.augmentation.scale import Scale

PLUGINS = [Flip, Rotation, Scale, Crop]


def images(channels=3, count=4, R=6):
    return torch.rand(count, channels, R, R, generator=torch.Generator().manual_seed(0)) * 2 - 1


def constant(value, count=4):
    return torch.full((count,), float(value))


def test_flip_changes_the_selected_images_only():
    x = images()
    y = flip(x, torch.tensor([True, False, True, False]))
    assert torch.equal(y[0], x[0].flip(-1))
    assert torch.equal(y[1], x[1])


@pytest.mark.parametrize("quarters", [0, 1, 2])
def test_rotations_by_quarters_equal_rot90(quarters):
    x = images()
    y = warp(x, rotations(constant(quarters * math.pi / 2)))
    torch.testing.assert_close(y, torch.rot90(x, quarters, (2, 3)), atol=1e-5, rtol=0)


def test_shifts_by_whole_pixels_equal_slices_on_black():
    x = images(R=6)
    y = warp(x, shifts(constant(2 / 6 * 2), constant(-1 / 6 * 2)))
    expected = torch.full_like(x, -1)
    expected[:, :, :5, 2:] = x[:, :, 1:, :4]
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)


def test_scaling_by_two_enlarges_the_centre():
    """Linear interpolation is exact for a ramp."""
    ramp = torch.linspace(-0.9, 0.9, 6).expand(1, 1, 6, 6)
    y = warp(ramp, scalings(constant(2, 1), constant(2, 1)))
    x = (torch.arange(6) + 0.5) / 6 * 2 - 1
    torch.testing.assert_close(y[0, 0, 3], x / 2 * 0.9 * 6 / 5, atol=1e-5, rtol=0)


def test_a_crop_is_a_part_of_the_padded_image():
    x, padding = images(), 2
    right, down = torch.tensor([0, 2, 4, 1]), torch.tensor([3, 2, 0, 4])
    y = crop(x, right, down, padding)
    for i in range(4):
        padded = torch.full((3, 10, 10), -1.0)
        padded[:, 2:8, 2:8] = x[i]
        assert torch.equal(y[i], padded[:, down[i] : down[i] + 6, right[i] : right[i] + 6])
    assert torch.equal(y[1], x[1])


@pytest.mark.parametrize("plugin_class", PLUGINS)
@pytest.mark.parametrize("channels", [1, 6])
def test_labels_and_gradients(plugin_class, channels):
    """All are linear in the images, apart from the black border: f(x + d) - f(x) is the gradient times d."""
    plugin = plugin_class(plugin_class.Config())
    x, labels = images(channels).requires_grad_(), torch.arange(4)

    def augmented(images):
        torch.manual_seed(7)
        return plugin.discriminator_inputs(images=images, condition=labels)

    y, same_labels = augmented(x)
    assert same_labels is labels
    d, g = torch.randn_like(x), torch.randn_like(x)
    (gradient,) = torch.autograd.grad((y * g).sum(), x)
    change = ((augmented(x + d)[0] - y) * g).sum()
    torch.testing.assert_close((gradient * d).sum(), change, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("plugin_class", PLUGINS)
def test_the_type_of_half_precision_images_is_kept(plugin_class):
    x = images().bfloat16()
    y, _ = plugin_class(plugin_class.Config()).discriminator_inputs(images=x, condition=None)
    assert (y.shape, y.dtype) == (x.shape, torch.bfloat16)


@pytest.mark.parametrize("plugin_class", PLUGINS)
def test_equal_images_are_augmented_differently(plugin_class):
    plugin = plugin_class(plugin_class.Config())
    x = images(count=1).expand(32, -1, -1, -1)
    y, _ = plugin.discriminator_inputs(images=x, condition=None)
    assert len(torch.unique(y.flatten(1), dim=0)) > 1


def test_angles_and_factors_cover_their_ranges(monkeypatch):
    drawn = {}
    monkeypatch.setattr("gankit_plugins.augmentation.rotation.rotations", lambda angle: drawn.update(a=angle))
    monkeypatch.setattr("gankit_plugins.augmentation.rotation.warp", lambda images, maps: images)
    monkeypatch.setattr("gankit_plugins.augmentation.scale.scalings", lambda x, y: drawn.update(x=x, y=y))
    monkeypatch.setattr("gankit_plugins.augmentation.scale.warp", lambda images, maps: images)
    many = torch.zeros(5000, 1, 2, 2)
    Rotation(Rotation.Config(degrees=30)).discriminator_inputs(images=many, condition=None)
    assert (drawn["a"].min().item(), drawn["a"].max().item()) == pytest.approx((-math.pi / 6, math.pi / 6), abs=1e-3)
    Scale(Scale.Config(factor=(0.5, 2))).discriminator_inputs(images=many, condition=None)
    assert torch.equal(drawn["x"], drawn["y"])
    assert (drawn["x"].min().item(), drawn["x"].max().item()) == pytest.approx((0.5, 2), rel=1e-3)
    assert drawn["x"].log().mean().item() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("name", ["flip", "rotation", "scale", "crop", "diff_augment", "ada"])
def test_points_are_refused(plain_recipe, name):
    raw = merge(plain_recipe("igan"), {"data": {"use": "gaussian_ring"}, "tricks": {name: {}}})
    with pytest.raises(InputError, match=f"tricks.{name}: the data are points"):
        assemble(Recipe.from_dict(raw))


def test_padding_as_large_as_the_image_is_refused(plain_recipe):
    raw = merge(plain_recipe("igan"), {"tricks": {"crop": {"padding": 8}}})
    with pytest.raises(InputError, match=r"padding = 8 can shift an image of 8 pixels out of view; .* such as 1"):
        assemble(Recipe.from_dict(raw))


@pytest.mark.parametrize("factor", [(0.0, 1.0), (1.5, 1.2)])
def test_factors_out_of_bounds_are_refused(factor):
    with pytest.raises(ValidationError):
        Scale.Config(factor=factor)
