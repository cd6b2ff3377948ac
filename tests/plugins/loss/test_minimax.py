"""Minimax loss, against Goodfellow 2014."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gankit_plugins.loss.minimax import Minimax

LOGITS = st.lists(st.floats(-8, 8), min_size=1, max_size=5)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@given(real=LOGITS, fake=LOGITS)
def test_losses_are_equation_1_with_opposite_signs(real, fake):
    ln_d = sum(math.log(sigmoid(x)) for x in real) / len(real)
    ln_not_d = sum(math.log(1 - sigmoid(x)) for x in fake) / len(fake)
    real, fake = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    assert Minimax.discriminator_loss(real, fake).item() == pytest.approx(-(ln_d + ln_not_d), rel=1e-9)
    assert Minimax.generator_loss(fake).item() == pytest.approx(ln_not_d, rel=1e-9)


def test_gradient_of_g_vanishes_where_d_is_certain():
    """d/dx ln(1 - sigmoid(x)) = -sigmoid(x), which is nearly 0 at x = -20."""
    logits = torch.tensor([-20.0, 0.0, 20.0], dtype=torch.float64, requires_grad=True)
    Minimax.generator_loss(logits).backward()
    torch.testing.assert_close(logits.grad, -torch.sigmoid(logits.detach()) / 3)
    assert logits.grad[0].abs() < 1e-8
