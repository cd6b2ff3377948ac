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
from gankit_plugins.loss.softmax import discriminator_loss, generator_loss, log_partition
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


@given(real=LOGITS, fake=LOGITS)
def test_softmax_is_the_cross_entropy_between_shares_of_a_batch(real, fake):
    """Lin 2017, section 3: the probability of an image is exp(D(x)) / Z."""
    shares = [math.exp(x) for x in (*real, *fake)]
    probability = [share / sum(shares) for share in shares]
    log_z = log_partition(double(real), double(fake))
    of_d = -mean(math.log(p) for p in probability[: len(real)])
    assert discriminator_loss(double(real), log_z).item() == pytest.approx(of_d, abs=1e-9)
    if len(real) == len(fake):
        of_g = -mean(map(math.log, probability))
        assert generator_loss(double(real), double(fake), log_z).item() == pytest.approx(of_g, abs=1e-9)


def test_softmax_with_large_logits_and_with_two_halves_of_a_batch():
    real, fake = torch.tensor([300.0, 200.0]), torch.tensor([250.0, -300.0])
    whole = log_partition(real, fake)
    assert whole.item() == pytest.approx(300.0)
    own = [torch.stack(pair).logsumexp(0) for pair in zip(real, fake, strict=True)]
    shift = sum(own) / 2
    of_both_ranks = iter([own, [(x - shift).exp() for x in own]])

    def mean_of_ranks(value):
        return sum(next(of_both_ranks)) / 2

    assert log_partition(real[:1], fake[:1], mean_of_ranks, 2).item() == pytest.approx(whole.item())


def test_g_has_no_softmax_gradient_if_all_images_have_equal_shares():
    fake = torch.zeros(3, requires_grad=True)
    generator_loss(torch.zeros(3), fake, log_partition(torch.zeros(3), fake)).backward()
    torch.testing.assert_close(fake.grad, torch.zeros(3))


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
