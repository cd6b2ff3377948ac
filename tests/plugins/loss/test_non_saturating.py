"""Non-saturating loss, against Goodfellow 2014."""

import math

import pytest
import torch

from gankit_plugins.loss.non_saturating import NonSaturating

REAL = [1.5, -0.3, 0.0, 4.0]
FAKE = [-2.0, 0.7, 1.1, -0.4]

discriminator_loss, generator_loss = NonSaturating.discriminator_loss, NonSaturating.generator_loss


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def mean(values):
    return sum(values) / len(values)


def term_of(player):
    (term,) = NonSaturating(NonSaturating.Config()).loss_terms(player)
    assert (term.weight, term.every) == (1.0, 1)
    return term.function


def test_discriminator_loss_is_minus_the_value_function():
    expected = -mean([math.log(sigmoid(x)) for x in REAL]) - mean([math.log(1 - sigmoid(x)) for x in FAKE])
    assert discriminator_loss(torch.tensor(REAL), torch.tensor(FAKE)).item() == pytest.approx(expected, rel=1e-6)


def test_generator_loss_is_minus_the_mean_of_ln_d():
    expected = -mean([math.log(sigmoid(x)) for x in FAKE])
    assert generator_loss(torch.tensor(FAKE)).item() == pytest.approx(expected, rel=1e-6)


def test_gradient_of_g_does_not_vanish_where_d_is_right():
    logits = torch.tensor([-40.0], requires_grad=True)
    generator_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1.0)


def test_real_and_fake_images_are_averaged_separately():
    one, many = torch.tensor([1.0]), torch.tensor([-1.0, 2.0, 0.5])
    expected = -math.log(sigmoid(1.0)) - mean([math.log(1 - sigmoid(x)) for x in (-1.0, 2.0, 0.5)])
    assert discriminator_loss(one, many).item() == pytest.approx(expected, rel=1e-6)


def test_terms_use_the_targets_of_the_step(make_step):
    step = make_step("discriminator", REAL, FAKE)
    step.real_target, step.fake_target = torch.tensor([0.9, 0.8, 0.7, 1.0]), 0.1
    expected = -mean(
        [
            t * math.log(sigmoid(x)) + (1 - t) * math.log(1 - sigmoid(x))
            for x, t in zip(REAL, [0.9, 0.8, 0.7, 1.0], strict=True)
        ]
    ) - mean([0.1 * math.log(sigmoid(x)) + 0.9 * math.log(1 - sigmoid(x)) for x in FAKE])
    assert term_of("discriminator")(step).item() == pytest.approx(expected, rel=1e-6)

    step.generator_target = 0.0
    expected = -mean([math.log(1 - sigmoid(x)) for x in FAKE])
    assert term_of("generator")(step).item() == pytest.approx(expected, rel=1e-6)


def test_generator_term_does_not_call_d_on_real_images(make_step):
    step = make_step("generator", REAL, FAKE)
    term_of("generator")(step)
    assert "real_output" not in vars(step)
