"""Gradient penalty of WGAN-GP, against closed forms and finite differences."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gankit import Step
from gankit_plugins.penalty.gradient_penalty import GradientPenalty
from gankit_plugins.penalty.input_gradient import interpolate, norm_deviation


def gradient_penalty(discriminator, real, fake, labels, t):
    return norm_deviation(discriminator, interpolate(real, fake, t), labels, 1)


def linear(w):
    return lambda images, labels: (images * w).flatten(1).sum(1)


def images(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def curved(channels=3):
    """A small smooth D in float64."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 1)).double()


def plugin(**settings):
    return GradientPenalty(GradientPenalty.Config(**settings))


def test_value_for_a_quadratic_discriminator():
    """D(x) = |x|^2 / 2 has the gradient x, so the penalty shows at which points it was computed."""
    real, fake = images(4, 1, 2, 2), images(4, 1, 2, 2, seed=1)
    t = torch.tensor([0.0, 0.25, 0.6, 1.0], dtype=torch.float64)
    expected = torch.stack([((t[i] * real[i] + (1 - t[i]) * fake[i]).norm() - 1) ** 2 for i in range(4)]).mean()
    penalty = gradient_penalty(
        lambda x, labels: x.square().flatten(1).sum(1) / 2, real, fake, None, t.reshape(4, 1, 1, 1)
    )
    torch.testing.assert_close(penalty, expected)


def test_gradient_for_d_equals_finite_differences():
    D, real, fake = curved(), images(2, 3, 5, 5), images(2, 3, 5, 5, seed=1)

    def penalty():
        return gradient_penalty(lambda x, labels: D(x).flatten(), real, fake, None, 0.4)

    penalty().backward()
    weight = D[0].weight
    for place in [(0, 0, 0, 0), (1, 2, 1, 2), (3, 1, 2, 0)]:
        values = []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += h
            values.append(penalty().item())
            with torch.no_grad():
                weight[place] -= h
        assert weight.grad[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_norm_is_computed_for_each_image():
    """Slopes 0 and 2 cost (0 - 1)^2 and (2 - 1)^2. One norm over the batch would make it (2 - 1)^2."""
    slopes = torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1)
    x = torch.zeros(2, 1, 1, 1)
    penalty = gradient_penalty(lambda images, labels: (images * slopes).flatten(), x, x, None, 0.5)
    assert penalty.item() == pytest.approx(1.0)
    single = [gradient_penalty(lambda images, labels, s=s: (images * s).flatten(), x[:1], x[:1], None, 0.5)
             for s in slopes]  # fmt: skip
    assert penalty.item() == pytest.approx(sum(p.item() for p in single) / 2)


def test_flat_discriminator_has_the_value_1_and_a_finite_gradient():
    w = torch.zeros(1, 3, 3, requires_grad=True)
    x = torch.randn(4, 1, 3, 3)
    penalty = gradient_penalty(linear(w), x, x, None, 0.5)
    penalty.backward()
    assert penalty.item() == 1.0
    assert w.grad.isfinite().all()


def test_norm_of_bfloat16_gradients_is_in_float32():
    """A bfloat16 sum of the squares of a thousand slopes of 1/16 would stop growing."""
    x = torch.zeros(2, 1, 32, 32, dtype=torch.bfloat16)
    w = torch.full((1, 32, 32), 1 / 16, dtype=torch.bfloat16)
    penalty = gradient_penalty(linear(w), x, x, None, 0.5)
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx((2 - 1) ** 2)


class Discriminator(nn.Module):
    """Discriminator whose slope is k + 1 for images of class k."""

    def __init__(self):
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.inputs = []

    def forward(self, images, labels):
        self.inputs.append(images.detach())
        return images[:, 0, 0, 0] * self.slopes[labels], images.flatten(1)


def new_step(labels=(0, 1, 2), shift=0.0):
    labels = torch.tensor(labels)
    run = SimpleNamespace(
        discriminator=Discriminator(),
        discriminator_inputs=lambda images, labels, source, player: (images + shift, labels),
    )
    count = len(labels)
    return Step(
        run,
        "discriminator",
        torch.ones(count, 1, 2, 2),
        labels,
        torch.zeros(count, 1),
        torch.zeros(count, 1, 2, 2),
    )


def test_term_uses_the_label_of_each_image():
    step = new_step()
    (term,) = plugin().loss_terms("discriminator")
    value = term.function(step)
    assert value.item() == pytest.approx((0 + 1 + 4) / 3)
    value.backward()
    torch.testing.assert_close(step.run.discriminator.slopes.grad, torch.tensor([0.0, 2.0, 4.0]) / 3)


def test_points_are_uniform_between_the_inputs_of_d():
    torch.manual_seed(0)
    step = new_step([0] * 4000, shift=10.0)
    (term,) = plugin().loss_terms("discriminator")
    term.function(step)
    (x_hat,) = step.run.discriminator.inputs
    t = x_hat - 10.0
    assert torch.equal(t.amin(dim=(1, 2, 3)), t.amax(dim=(1, 2, 3)))
    t = t[:, 0, 0, 0]
    assert (t.min() >= 0) & (t.max() <= 1)
    quarters = torch.histc(t, bins=4, min=0, max=1) / len(t)
    assert (quarters - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
