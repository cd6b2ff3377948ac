"""Pull-away term, against equation 4 by a naive loop."""

import math

import pytest
import torch

from gankit.errors import RecipeError
from gankit.testing import tiny_run
from gankit.training.update import draw_step
from gankit_plugins.penalty.pull_away import PullAway, pull_away


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def test_the_term_by_a_naive_loop():
    codes = torch.randn(5, 3, dtype=torch.float64)
    rows = codes.tolist()
    expected = sum(cosine(rows[i], rows[j]) ** 2 for i in range(5) for j in range(5) if i != j) / (5 * 4)
    assert pull_away(codes).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], 0.0),
        ([[1.0, 1.0], [3.0, 3.0], [-2.0, -2.0]], 1.0),
        ([[1.0, 2.0]], 0.0),
        ([[0.0, 0.0], [1.0, 0.0]], 0.0),
    ],
    ids=["orthogonal", "parallel", "one code", "zero"],
)
def test_limits(codes, expected):
    codes = torch.tensor(codes, requires_grad=True)
    value = pull_away(codes)
    value.backward()
    assert value.item() == pytest.approx(expected, abs=1e-6)
    assert codes.grad.isfinite().all()


def test_gradient_by_finite_differences_and_precision():
    assert torch.autograd.gradcheck(pull_away, torch.randn(4, 3, dtype=torch.float64, requires_grad=True))
    codes = torch.randn(4, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(pull_away(codes), pull_away(codes.float()), rtol=0.02, atol=0.01)
    assert pull_away(codes).dtype == torch.float32


def test_only_g_has_the_term_of_the_codes_of_its_images():
    run = tiny_run({PullAway: {"weight": 0.3}})
    assert "pull_away" not in {term.name for term in run.terms["discriminator"]}
    term = run.terms["generator"][-1]
    assert (term.name, term.weight) == ("pull_away", 0.3)
    step = draw_step(run, "generator")
    torch.testing.assert_close(term.function(step), pull_away(run.discriminator(step.fake, None)[1]))
    assert torch.autograd.grad(term.function(step), step.fake)[0].any()


def test_single_images_are_refused_and_parts_cause_a_warning():
    with pytest.raises(RecipeError, match="the term compares pairs, and each part of a batch has one image"):
        tiny_run({PullAway: {}}, {"train": {"batch_size": 4, "accumulate": 4}})
    warnings = tiny_run({PullAway: {}}, {"train": {"accumulate": 2}}).warnings
    assert any("the pairs are within one of 2 parts" in warning for warning in warnings)


def test_the_term_over_several_ranks_is_that_of_the_whole_batch():
    codes = torch.randn(6, 3, dtype=torch.float64)
    parts = codes.chunk(2)
    other = torch.zeros(2, 3, 3, dtype=torch.float64)
    other[1] = parts[1] / parts[1].norm(dim=1, keepdim=True)
    assert pull_away(parts[0], lambda own: (own + other) / 2, 2, 0).item() == pytest.approx(pull_away(codes).item())
