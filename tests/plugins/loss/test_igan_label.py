"""IGAN's label loss, against the printed equations of Meng 2021."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit_plugins.loss.igan_label import IganLabel
from gankit_plugins.loss.non_saturating import NonSaturating

logit_lists = st.lists(st.floats(-8, 8), min_size=4, max_size=4)
REAL = [1.5, -0.3, 0.0, 4.0]
FAKE = [-2.0, 0.7, 1.1, -0.4]
ALPHA = [0.0, 0.05, 0.1, 0.02]
BETA = [0.9, 0.95, 1.0, 0.93]

discriminator_loss, generator_loss = IganLabel.discriminator_loss, IganLabel.generator_loss


def ln_d(logit):
    return -math.log(1 + math.exp(-logit))


def ln_not_d(logit):
    return -math.log(1 + math.exp(logit))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def tensors(*lists):
    return [torch.tensor(values, dtype=torch.float64) for values in lists]


def term_of(player):
    (term,) = IganLabel(IganLabel.Config()).loss_terms(player)
    return term.function


@settings(deadline=None)
@given(logit_lists, logit_lists, st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.floats(0, 2))
def test_value_equals_the_definition(real, fake, t, u, alpha, beta):
    expected = -mean(alpha * (t * ln_d(x) + (1 - t) * ln_not_d(x)) for x in real) - mean(
        beta * (u * ln_d(x) + (1 - u) * ln_not_d(x)) for x in fake
    )
    value = discriminator_loss(*tensors(real, fake), t, u, alpha, beta).item()
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_weights_belong_to_single_images():
    printed = mean(a * ln_not_d(x) for a, x in zip(ALPHA, REAL, strict=True)) + mean(
        b * ln_d(x) for b, x in zip(BETA, FAKE, strict=True)
    )
    real, fake, alpha, beta = tensors(REAL, FAKE, ALPHA, BETA)
    assert discriminator_loss(real, fake, 0.0, 1.0, alpha, beta).item() == pytest.approx(-printed, rel=1e-9)


@pytest.mark.parametrize(
    ("targets", "weights", "printed"),
    [
        ((1.0, 0.0), (1.0, 1.0), mean(map(ln_d, REAL)) + mean(map(ln_not_d, FAKE))),
        ((1.0, 0.0), (0.1, 0.9), 0.1 * mean(map(ln_d, REAL)) + 0.9 * mean(map(ln_not_d, FAKE))),
        ((0.0, 1.0), (0.1, 0.9), 0.1 * mean(map(ln_not_d, REAL)) + 0.9 * mean(map(ln_d, FAKE))),
    ],
    ids=["equation 1", "equation 8", "equation 11"],
)
def test_discriminator_term_is_minus_the_equation(make_step, targets, weights, printed):
    step = make_step("discriminator", REAL, FAKE)
    step.real_target, step.fake_target = targets
    step.real_weight, step.fake_weight = weights
    assert term_of("discriminator")(step).item() == pytest.approx(-printed, rel=1e-6)


@pytest.mark.parametrize("target", [1.0, 0.0])
def test_generator_term(make_step, target):
    step = make_step("generator", REAL, FAKE)
    step.generator_target = target
    step.fake_weight = torch.tensor(BETA)
    step.real_weight = 100.0
    logarithm = ln_d if target == 1.0 else ln_not_d
    expected = -mean(b * logarithm(x) for b, x in zip(BETA, FAKE, strict=True))
    assert term_of("generator")(step).item() == pytest.approx(expected, rel=1e-6)
    assert "real_output" not in vars(step)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_without_weights_it_equals_the_non_saturating_loss(make_step, player):
    step = make_step(player, REAL, FAKE)
    step.real_target, step.fake_target, step.generator_target = torch.tensor([0.9, 0.8, 0.7, 1.0]), 0.1, 0.0
    (other,) = NonSaturating(NonSaturating.Config()).loss_terms(player)
    value = other.function(step)
    assert ("real_output" in vars(step)) == (player == "discriminator")
    assert torch.equal(term_of(player)(step), value)
