"""Cross entropy of logits with a target."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit_plugins.loss.cross_entropy import cross_entropy


def naive(logit, target):
    D = 1 / (1 + math.exp(-logit))
    return -(target * math.log(D) + (1 - target) * math.log(1 - D))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-15, 15), st.floats(0, 1)), min_size=1, max_size=8))
def test_value_equals_the_definition(pairs):
    logits = torch.tensor([logit for logit, _ in pairs], dtype=torch.float64)
    targets = torch.tensor([target for _, target in pairs], dtype=torch.float64)
    expected = torch.tensor([naive(*pair) for pair in pairs], dtype=torch.float64)
    torch.testing.assert_close(cross_entropy(logits, targets), expected, rtol=1e-7, atol=1e-9)


@settings(deadline=None)
@given(st.floats(-10, 10), st.floats(0, 1))
def test_gradient_is_probability_minus_target(logit, target):
    x = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    cross_entropy(x, target).sum().backward()
    assert x.grad.item() == pytest.approx(1 / (1 + math.exp(-logit)) - target, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_logits_have_a_finite_loss_and_an_exact_gradient(dtype):
    logits = torch.tensor([1000.0, -1000.0, 60.0, -60.0], dtype=dtype, requires_grad=True)
    wrong = cross_entropy(logits, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert wrong.tolist() == [1000.0, 1000.0, 60.0, 60.0]
    wrong.sum().backward()
    assert logits.grad.tolist() == [1.0, -1.0, 1.0, -1.0]


def test_small_loss_keeps_its_digits():
    logits = torch.tensor([50.0, -50.0])
    right = cross_entropy(logits, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(right, torch.full((2,), math.exp(-50)), rtol=1e-5, atol=0)


def test_bfloat16_logits_are_computed_in_float32():
    logits = torch.tensor([3.0, -2.5, 7.0], dtype=torch.bfloat16)
    value = cross_entropy(logits, 0.9)
    assert value.dtype == torch.float32
    assert torch.equal(value, cross_entropy(logits.float(), 0.9))


def test_autocast_does_not_lower_the_precision():
    logits = torch.tensor([3.1, -2.7])
    with torch.autocast("cpu", torch.bfloat16):
        value = cross_entropy(logits, 0.9)
    assert torch.equal(value, cross_entropy(logits, 0.9))
