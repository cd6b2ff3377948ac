"""Integrated gradients and occlusion against closed forms, the completeness axiom and naive loops."""

import pytest
import torch
from torch import nn

from gankit.explanation.attribution import attribution_share, integrated_gradients, occlusion, patch_starts


def network(*layers):
    """Return a function of images (B, 2, 5, 6) with random weights in float64."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *layers, nn.Flatten(), nn.Linear(120, 1)).double()
    return lambda images: body(images)[:, 0]


@pytest.fixture
def images():
    return torch.rand(3, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1


BASELINE = torch.full((2, 5, 6), -0.3, dtype=torch.float64)


def test_a_linear_function_has_exact_integrated_gradients(images):
    weight = torch.randn(2, 5, 6, dtype=torch.float64)
    found = integrated_gradients(lambda x: (x * weight).sum((1, 2, 3)) + 5, images, BASELINE, steps=1)
    torch.testing.assert_close(found, weight * (images - BASELINE))


def test_a_square_has_exact_integrated_gradients(images):
    found = integrated_gradients(lambda x: x.square().sum((1, 2, 3)), images, BASELINE, steps=3)
    torch.testing.assert_close(found, images.square() - BASELINE.square())


@pytest.mark.parametrize("layers", [[], [nn.Tanh()], [nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1), nn.Softplus()]])
def test_completeness(layers, images):
    f = network(*layers)
    found = integrated_gradients(f, images, BASELINE, steps=200)
    expected = f(images) - f(BASELINE.expand_as(images))
    assert expected.abs().max() > 0.02
    torch.testing.assert_close(found.sum((1, 2, 3)), expected.detach(), rtol=1e-4, atol=1e-5)


def test_more_steps_reduce_the_error(images):
    f = network(nn.Tanh())
    expected = f(images) - f(BASELINE.expand_as(images))
    errors = [
        (integrated_gradients(f, images, BASELINE, n).sum((1, 2, 3)) - expected).abs().max().item() for n in (2, 8, 32)
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_an_unused_pixel_has_no_attribution(images):
    found = integrated_gradients(lambda x: x[:, 0, 2, 2].sin(), images, BASELINE, steps=8)
    assert found.nonzero()[:, 1:].unique(dim=0).tolist() == [[0, 2, 2]]


@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (2, 1), (3, 2), (5, 2), (4, 4)])
def test_occlusion_against_a_naive_loop(images, patch, stride):
    f = network(nn.Tanh())
    height, width = images.shape[2:]
    expected = torch.zeros(3, height, width, dtype=torch.float64)
    for number, image in enumerate(images):
        for y in range(height):
            for x in range(width):
                values = []
                for top in patch_starts(height, patch, stride):
                    for left in patch_starts(width, patch, stride):
                        if top <= y < top + patch and left <= x < left + patch:
                            changed = image.clone()
                            for row in range(top, top + patch):
                                for column in range(left, left + patch):
                                    changed[:, row, column] = BASELINE[:, row, column]
                            values.append((f(image[None]) - f(changed[None])).item())
                expected[number, y, x] = sum(values) / len(values)
    torch.testing.assert_close(occlusion(f, images, BASELINE, patch, stride), expected)


@pytest.mark.parametrize(
    ("arguments", "starts"),
    [((8, 4, 2), [0, 2, 4]), ((7, 4, 2), [0, 2, 3]), ((4, 4, 2), [0]), ((5, 1, 1), [0, 1, 2, 3, 4])],
)
def test_the_patches_cover_the_image(arguments, starts):
    assert patch_starts(*arguments) == starts


def test_shares():
    values = torch.tensor([[[1.0, -3.0], [0.0, 4.0]]])
    masks = torch.tensor([[[True, True], [True, False]]])
    assert attribution_share(values, masks) == 0.5
    assert attribution_share(values * 0, masks) == 0
