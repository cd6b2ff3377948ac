"""Affine maps of images: the deterministic sampling equals grid_sample."""

import pytest
import torch
from torch.nn import functional as F

from gankit_plugins.augmentation.affine import gather_sample, rotations, scalings, shifts


@pytest.mark.parametrize("size", [(6, 6), (5, 8), (1, 1)])
def test_gather_sample_equals_grid_sample_with_its_gradients(size):
    """Positions inside, at the edges, outside, and far outside of the image, at fp64."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    images, grid, outer = draw(4, 3, *size), 1.5 * draw(4, 7, 9, 2), draw(4, 3, 7, 9)
    grid[0, 0, 0], grid[0, 0, 1], grid[0, 0, 2] = -1, 1, 100
    results = []
    for sample in (gather_sample, lambda x, at: F.grid_sample(x, at, align_corners=False)):
        x, at = images.clone().requires_grad_(), grid.clone().requires_grad_()
        value = sample(x, at)
        results.append((value.detach(), *torch.autograd.grad((value * outer).sum(), (x, at))))
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected)


def test_second_derivatives_of_gather_sample():
    """A gradient penalty differentiates the gradient of the images again."""
    images = torch.randn(2, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps = (rotations(torch.tensor([0.3, -1.0])) @ scalings(*torch.tensor([[1.2, 0.8], [0.7, 1.1]])))[:, :2].double()
    grid = F.affine_grid(maps, [2, 1, 3, 3], align_corners=False)
    assert torch.autograd.gradgradcheck(lambda x: gather_sample(x, grid).square(), images.requires_grad_())


def test_a_whole_shift_moves_the_pixels():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    maps = torch.linalg.inv(shifts(torch.tensor([0.5]), torch.tensor([0.0])))[:, :2]  # one of four pixels
    moved = gather_sample(images, F.affine_grid(maps, [1, 1, 4, 4], align_corners=False))
    assert torch.equal(moved[..., 1:], images[..., :-1])
    assert (moved[..., 0] == 0).all()
