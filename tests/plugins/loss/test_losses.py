"""Non-saturating, minimax, least-squares, Wasserstein and hinge losses, against their papers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gankit_plugins.loss.hinge import Hinge
from gankit_plugins.loss.least_squares import LeastSquares
from gankit_plugins.loss.minimax import Minimax
from gankit_plugins.loss.non_saturating import NonSaturating
from gankit_plugins.loss.wasserstein import Wasserstein

LOGITS = st.lists(st.floats(-8, 8), min_size=1, max_size=5)


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def ln_d(x):
    return -math.log(1 + math.exp(-x))


def ln_not_d(x):
    return -math.log(1 + math.exp(x))


@given(real=LOGITS, fake=LOGITS)
def test_losses_equal_their_equations(real, fake):
    """Goodfellow 2014, equation 1; Arjovsky 2017; Miyato 2018, equations 16 and 17."""
    value = mean(map(ln_d, real)) + mean(map(ln_not_d, fake))
    hinge = mean(max(0, 1 - x) for x in real) + mean(max(0, 1 + x) for x in fake)
    for loss, of_d, of_g in [
        (NonSaturating, -value, -mean(map(ln_d, fake))),
        (Minimax, -value, mean(map(ln_not_d, fake))),
        (Wasserstein, mean(fake) - mean(real), -mean(fake)),
        (Hinge, hinge, -mean(fake)),
    ]:
        assert loss.discriminator_loss(double(real), double(fake)).item() == pytest.approx(of_d, rel=1e-9, abs=1e-12)
        assert loss.generator_loss(double(fake)).item() == pytest.approx(of_g, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.1, 0.9, 1.0)])
def test_least_squares_are_equation_2_of_mao(a, b, c):
    real, fake = [0.3, -2.0, 1.0], [0.1, 4.0, -0.7]
    of_d = sum((x - b) ** 2 for x in real) / 6 + sum((x - a) ** 2 for x in fake) / 6
    assert LeastSquares.discriminator_loss(double(real), double(fake), b, a).item() == pytest.approx(of_d)
    assert LeastSquares.discriminator_loss(double(real), double(fake), double([b] * 3), a).item() == pytest.approx(of_d)
    assert LeastSquares.generator_loss(double(fake), c).item() == pytest.approx(sum((x - c) ** 2 for x in fake) / 6)


def test_gradient_of_g_vanishes_only_with_the_minimax_loss():
    """Where D is certain: d/dx ln(1 - sigmoid(x)) = -sigmoid(x), and -d/dx ln sigmoid(x) = sigmoid(x) - 1."""
    logits = double([-20.0, 0.0, 20.0]).requires_grad_()
    probability = torch.sigmoid(logits.detach())
    for loss, expected in [(Minimax, -probability / 3), (NonSaturating, (probability - 1) / 3)]:
        (gradient,) = torch.autograd.grad(loss.generator_loss(logits), logits)
        torch.testing.assert_close(gradient, expected)


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
        ({"normalization": {"discriminator": {"use": "spectral_norm"}}}, False),
    ],
)
def test_unbounded_critic_causes_a_warning(assembled, change, warned):
    warnings = assembled({"loss": {"use": "wasserstein"}} | change).warnings
    assert any("nothing bounds the critic's slope" in s for s in warnings) is warned
