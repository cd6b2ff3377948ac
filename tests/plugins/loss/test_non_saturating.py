import math

import pytest
import torch

from gankit_plugins.loss.non_saturating import NonSaturating, discriminator_loss, generator_loss

REAL = [1.5, -0.3, 0.0, 4.0]
FAKE = [-2.0, 0.7, 1.1, -0.4]


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def mean(values):
    return sum(values) / len(values)


def the_term(player):
    (term,) = NonSaturating(NonSaturating.Config()).loss_terms(player)
    assert (term.weight, term.every) == (1.0, 1)
    return term.function


def test_discriminator_loss_is_minus_goodfellows_value_function():
    expected = -mean([math.log(sigmoid(x)) for x in REAL]) - mean([math.log(1 - sigmoid(x)) for x in FAKE])
    assert discriminator_loss(torch.tensor(REAL), torch.tensor(FAKE)).item() == pytest.approx(expected, rel=1e-6)


def test_generator_raises_ln_d_rather_than_lowering_ln_of_one_minus_d():
    expected = -mean([math.log(sigmoid(x)) for x in FAKE])
    assert generator_loss(torch.tensor(FAKE)).item() == pytest.approx(expected, rel=1e-6)


def test_generators_gradient_does_not_vanish_where_d_is_right():
    logits = torch.tensor([-40.0], requires_grad=True)
    generator_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1.0)


def test_at_equilibrium_the_losses_are_two_ln_2_and_ln_2():
    zero = torch.zeros(3)
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(zero).item() == pytest.approx(math.log(2))


def test_halves_are_averaged_apart():
    one, many = torch.tensor([1.0]), torch.tensor([-1.0, 2.0, 0.5])
    expected = -math.log(sigmoid(1.0)) - mean([math.log(1 - sigmoid(x)) for x in (-1.0, 2.0, 0.5)])
    assert discriminator_loss(one, many).item() == pytest.approx(expected, rel=1e-6)


def test_plugin_trains_towards_the_targets_on_the_step(make_step):
    step = make_step("discriminator", REAL, FAKE)
    step.real_target, step.fake_target = torch.tensor([0.9, 0.8, 0.7, 1.0]), 0.1
    expected = -mean(
        [
            t * math.log(sigmoid(x)) + (1 - t) * math.log(1 - sigmoid(x))
            for x, t in zip(REAL, [0.9, 0.8, 0.7, 1.0], strict=True)
        ]
    ) - mean([0.1 * math.log(sigmoid(x)) + 0.9 * math.log(1 - sigmoid(x)) for x in FAKE])
    assert the_term("discriminator")(step).item() == pytest.approx(expected, rel=1e-6)

    step.generator_target = 0.0
    expected = -mean([math.log(1 - sigmoid(x)) for x in FAKE])
    assert the_term("generator")(step).item() == pytest.approx(expected, rel=1e-6)


def test_generator_never_asks_d_about_real_images(make_step):
    step = make_step("generator", REAL, FAKE)
    the_term("generator")(step)
    assert "real_output" not in vars(step)


def test_it_says_what_it_reads():
    assert NonSaturating.uses_targets
    assert not NonSaturating.uses_weights
