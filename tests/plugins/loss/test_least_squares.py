"""Loss of LSGAN, against Mao 2017."""

import pytest
import torch

from gankit_plugins.loss.least_squares import LeastSquares


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.1, 0.9, 1.0)])
def test_both_losses_are_equation_2(a, b, c):
    real, fake = [0.3, -2.0, 1.0], [0.1, 4.0, -0.7]
    expected_d = sum((x - b) ** 2 for x in real) / 6 + sum((x - a) ** 2 for x in fake) / 6
    expected_g = sum((x - c) ** 2 for x in fake) / 6
    real, fake = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    assert LeastSquares.discriminator_loss(real, fake, b, a).item() == pytest.approx(expected_d)
    assert LeastSquares.generator_loss(fake, c).item() == pytest.approx(expected_g)


def test_targets_may_belong_to_single_images():
    target = torch.tensor([0.7, 1.0])
    assert LeastSquares.discriminator_loss(target.clone(), torch.zeros(2), target, 0.0).item() == 0
