import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit_plugins.loss.igan_label import (
    IganLabel,
    equation_1,
    equation_8,
    equation_11,
    generator_loss,
    label_loss,
)
from gankit_plugins.loss.non_saturating import NonSaturating

logit_lists = st.lists(st.floats(-8, 8), min_size=4, max_size=4)
REAL = [1.5, -0.3, 0.0, 4.0]
FAKE = [-2.0, 0.7, 1.1, -0.4]
ALPHA = [0.0, 0.05, 0.1, 0.02]
BETA = [0.9, 0.95, 1.0, 0.93]


def ln_d(logit):
    return -math.log(1 + math.exp(-logit))


def ln_not_d(logit):
    return -math.log(1 + math.exp(logit))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def tensors(*lists):
    return [torch.tensor(values, dtype=torch.float64) for values in lists]


def the_term(player):
    (term,) = IganLabel(IganLabel.Config()).loss_terms(player)
    return term.function


@settings(deadline=None)
@given(logit_lists, logit_lists)
def test_equation_1(real, fake):
    printed = mean(map(ln_d, real)) + mean(map(ln_not_d, fake))
    assert equation_1(*tensors(real, fake)).item() == pytest.approx(printed, rel=1e-9)


@settings(deadline=None)
@given(logit_lists, logit_lists, st.floats(0, 3), st.floats(0, 3))
def test_equations_7_and_8(real, fake, alpha, beta):
    printed = mean(alpha * ln_d(x) for x in real) + mean(beta * ln_not_d(x) for x in fake)
    assert equation_8(*tensors(real, fake), alpha, beta).item() == pytest.approx(printed, rel=1e-9)


@settings(deadline=None)
@given(logit_lists, logit_lists, st.floats(0, 0.1), st.floats(0.9, 1))
def test_equation_11(real, fake, alpha, beta):
    printed = mean(alpha * ln_not_d(x) for x in real) + mean(beta * ln_d(x) for x in fake)
    assert equation_11(*tensors(real, fake), alpha, beta).item() == pytest.approx(printed, rel=1e-9)


def test_weights_belong_to_single_images():
    printed = mean(a * ln_not_d(x) for a, x in zip(ALPHA, REAL, strict=True)) + mean(
        b * ln_d(x) for b, x in zip(BETA, FAKE, strict=True)
    )
    real, fake, alpha, beta = tensors(REAL, FAKE, ALPHA, BETA)
    assert equation_11(real, fake, alpha, beta).item() == pytest.approx(printed, rel=1e-9)


@settings(deadline=None)
@given(logit_lists, logit_lists, st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.floats(0, 2))
def test_all_between_the_equations(real, fake, t, u, alpha, beta):
    expected = -mean(alpha * (t * ln_d(x) + (1 - t) * ln_not_d(x)) for x in real) - mean(
        beta * (u * ln_d(x) + (1 - u) * ln_not_d(x)) for x in fake
    )
    answer = label_loss(*tensors(real, fake), t, u, alpha, beta).item()
    assert answer == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("targets", "weights", "printed"),
    [
        ((1.0, 0.0), (1.0, 1.0), mean(map(ln_d, REAL)) + mean(map(ln_not_d, FAKE))),
        ((1.0, 0.0), (0.1, 0.9), 0.1 * mean(map(ln_d, REAL)) + 0.9 * mean(map(ln_not_d, FAKE))),
        ((0.0, 1.0), (0.1, 0.9), 0.1 * mean(map(ln_not_d, REAL)) + 0.9 * mean(map(ln_d, FAKE))),
    ],
    ids=["equation 1", "equation 8", "equation 11"],
)
def test_plugin_reads_the_step_and_is_minus_the_equation(make_step, targets, weights, printed):
    step = make_step("discriminator", REAL, FAKE)
    step.real_target, step.fake_target = targets
    step.real_weight, step.fake_weight = weights
    assert the_term("discriminator")(step).item() == pytest.approx(-printed, rel=1e-6)


@pytest.mark.parametrize("target", [1.0, 0.0])
def test_generator_term(make_step, target):
    step = make_step("generator", REAL, FAKE)
    step.generator_target = target
    step.fake_weight = torch.tensor(BETA)
    step.real_weight = 100.0
    wish = ln_d if target == 1.0 else ln_not_d
    expected = -mean(b * wish(x) for b, x in zip(BETA, FAKE, strict=True))
    assert the_term("generator")(step).item() == pytest.approx(expected, rel=1e-6)
    assert "real_output" not in vars(step)


def test_flipped_play_mirrors_unflipped_play():
    """A discriminator with the opposite sign, trained with flipped labels, earns the same losses."""
    real, fake = tensors(REAL, FAKE)
    assert torch.equal(label_loss(real, fake, 1.0, 0.0, 0.3, 0.7), label_loss(-real, -fake, 0.0, 1.0, 0.3, 0.7))
    assert torch.equal(generator_loss(fake, 1.0, 0.7), generator_loss(-fake, 0.0, 0.7))


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_without_weights_it_is_the_non_saturating_loss(make_step, player):
    step = make_step(player, REAL, FAKE)
    (other,) = NonSaturating(NonSaturating.Config()).loss_terms(player)
    assert torch.equal(the_term(player)(step), other.function(step))


def test_a_sure_discriminator_in_bfloat16_gets_a_finite_gradient(make_step):
    logits = torch.tensor([500.0, -500.0], dtype=torch.bfloat16, requires_grad=True)
    step = make_step("discriminator", [1.0, 1.0], logits)
    step.real_target, step.fake_target = 0.0, 1.0
    loss = the_term("discriminator")(step)
    assert loss.dtype == torch.float32
    loss.backward()
    assert logits.grad.tolist() == [0.0, -0.5]


def test_it_says_what_it_reads():
    assert IganLabel.uses_targets
    assert IganLabel.uses_weights
