import pytest
import torch

from gankit_plugins.loss.least_squares import discriminator_loss, generator_loss


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.1, 0.9, 1.0)])
def test_equation_2_of_mao(a, b, c):
    real, fake = [0.3, -2.0, 1.0], [0.1, 4.0, -0.7]
    expected_d = sum((x - b) ** 2 for x in real) / 6 + sum((x - a) ** 2 for x in fake) / 6
    expected_g = sum((x - c) ** 2 for x in fake) / 6
    real, fake = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    assert discriminator_loss(real, fake, b, a).item() == pytest.approx(expected_d)
    assert generator_loss(fake, c).item() == pytest.approx(expected_g)


def test_each_image_may_have_a_target_of_its_own():
    target = torch.tensor([0.7, 1.0])
    loss = discriminator_loss(target.clone(), torch.zeros(2), target, 0.0)
    assert loss.item() == 0


def test_the_best_d_is_the_mean_of_the_targets_weighted_by_the_densities():
    """D* = (b p_data + a p_g) / (p_data + p_g) (Mao 2017, equation 5)."""
    p_data, p_g, a, b = 0.3, 0.6, 0.0, 1.0
    d = torch.tensor((b * p_data + a * p_g) / (p_data + p_g), dtype=torch.float64, requires_grad=True)
    (p_data * (d - b) ** 2 / 2 + p_g * (d - a) ** 2 / 2).backward()
    assert d.grad.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_a_run_with_smoothed_targets(in_a_run, base, precision):
    smoothed = {"label_smoothing": {"real": [0.8, 1.0]}}
    in_a_run({"loss": {"use": "least_squares"}, "tricks": smoothed, "train": {"precision": precision}}, base=base)
