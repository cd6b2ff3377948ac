"""Penalties on weights: L1, L2, both orthogonal regularisations, historical averaging."""

import pytest
import torch
from torch import nn

from gankit.training.update import train_step
from gankit_plugins.penalty.historical_averaging import squared_distance, update_mean
from gankit_plugins.penalty.l1_regularization import l1
from gankit_plugins.penalty.l2_regularization import l2
from gankit_plugins.penalty.orthogonal_regularization import not_orthonormal
from gankit_plugins.penalty.relaxed_orthogonal_regularization import not_orthogonal
from gankit_plugins.penalty.weight_matrices import filters

NAMES = [
    "l1_regularization",
    "l2_regularization",
    "orthogonal_regularization",
    "relaxed_orthogonal_regularization",
    "historical_averaging",
]


def weights():
    torch.manual_seed(0)
    return [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in [(3, 2), (4, 1, 2, 2)]]


def numbers(tensors):
    return [x for t in tensors for x in t.flatten().tolist()]


def test_l1_and_l2_and_their_gradients():
    both = weights()
    assert l1(both).item() == pytest.approx(sum(abs(x) for x in numbers(both)))
    assert l2(both).item() == pytest.approx(sum(x * x for x in numbers(both)) / 2)
    for gradient, w in zip(torch.autograd.grad(l1(both), both), both, strict=True):
        torch.testing.assert_close(gradient, w.sign())
    for gradient, w in zip(torch.autograd.grad(l2(both), both), both, strict=True):
        torch.testing.assert_close(gradient, w.detach())


def test_zero_weights_have_a_zero_gradient():
    zero = [torch.zeros(2, 2, requires_grad=True)]
    for function in (l1, l2):
        assert torch.autograd.grad(function(zero), zero)[0].tolist() == [[0, 0], [0, 0]]


def naive_gram(W, diagonal):
    total = 0.0
    for group in W:
        for i, a in enumerate(group):
            for j, b in enumerate(group):
                dot = sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
                if i == j:
                    total += (dot - 1) ** 2 if diagonal else 0
                else:
                    total += dot**2
    return total


def test_orthogonal_penalties_equal_a_naive_loop():
    W = torch.randn(2, 3, 5, dtype=torch.float64)
    assert not_orthonormal(W).item() == pytest.approx(naive_gram(W, diagonal=True))
    assert not_orthogonal(W).item() == pytest.approx(naive_gram(W, diagonal=False))


def test_only_the_strict_form_penalises_the_length_of_orthogonal_filters():
    Q = torch.linalg.qr(torch.randn(5, 3, dtype=torch.float64))[0].T[None]
    assert not_orthonormal(Q).item() == pytest.approx(0, abs=1e-24)
    assert not_orthogonal(2 * Q).item() == pytest.approx(0, abs=1e-24)
    assert not_orthonormal(2 * Q).item() == pytest.approx(3 * 9)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3), (1, 3, 4)),
        (nn.Conv2d(4, 6, 3), (1, 6, 36)),
        (nn.Conv2d(4, 6, 3, groups=2), (2, 3, 18)),
        (nn.ConvTranspose2d(4, 6, 3), (1, 6, 36)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 3, 18)),
    ],
)
def test_filter_is_the_row_of_one_output_channel(layer, shape):
    """A filter of zeros makes the output of its channel zero, and of no other."""
    W = filters(layer)
    assert W.shape == shape
    marked = torch.autograd.grad(filters(layer)[-1, 0].sum(), layer.weight)[0].bool()
    with torch.no_grad():
        layer.weight[marked] = 0
        layer.bias.zero_()
    x = torch.randn(2, 4) if isinstance(layer, nn.Linear) else torch.randn(2, 4, 5, 5)
    silent = layer(x).transpose(0, 1).flatten(1).abs().sum(1) == 0
    channel = (shape[0] - 1) * shape[1]
    assert silent.nonzero().flatten().tolist() == [channel]


def test_running_mean_is_the_mean_of_all_values():
    past = [[torch.randn(3, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)] for _ in range(5)]
    mean = [torch.full((3,), 99.0, dtype=torch.float64), torch.full((2, 2), 99.0, dtype=torch.float64)]
    for t, theta in enumerate(past):
        update_mean(mean, theta, t)
    for k in range(2):
        torch.testing.assert_close(mean[k], sum(theta[k] for theta in past) / 5)


def test_squared_distance_and_its_gradient():
    theta, mean = weights(), [w.detach() + 1 for w in weights()]
    value = squared_distance(theta, mean)
    assert value.item() == pytest.approx(len(numbers(theta)))
    for gradient in torch.autograd.grad(value, theta):
        torch.testing.assert_close(gradient, torch.full_like(gradient, -2.0))


def test_historical_averaging_uses_the_mean_of_past_steps(start_run):
    """The term is 0 before the first step. After two steps it is the distance to the mean of both."""
    run = start_run({"tricks": {"historical_averaging": {"players": ["discriminator"]}}})
    theta, past = run.parameters["discriminator"], []
    *_, term = run.terms["discriminator"]
    assert term.function(None).item() == 0
    for _ in range(2):
        train_step(run, "discriminator")
        past.append([p.detach().clone() for p in theta])
    train_step(run, "generator")
    expected = sum(((p - (a + b) / 2) ** 2).sum() for p, a, b in zip(theta, *past, strict=True))
    torch.testing.assert_close(term.function(None), expected)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_configured_players_have_the_term(start_run, name):
    terms = start_run({"tricks": {name: {"players": ["generator"]}}}).terms
    assert [t.name for t in terms["generator"]] == ["adversarial", name]
    assert [t.name for t in terms["discriminator"]] == ["adversarial"]


def test_biases_are_not_regularised(start_run):
    run = start_run({"tricks": {"l1_regularization": {}}})
    *_, term = run.terms["discriminator"]
    term.function(None).backward()
    assert {p.dim() > 1 for p in run.parameters["discriminator"] if p.grad is not None} == {True}
