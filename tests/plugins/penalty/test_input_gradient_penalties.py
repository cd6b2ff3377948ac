"""Penalties on the gradient at D's inputs, with discriminators whose gradient is known."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import softplus

from gankit import Step
from gankit.training.update import draw_step, train_step
from gankit_plugins.penalty.dragan import perturb
from gankit_plugins.penalty.gradient_penalty import GradientPenalty
from gankit_plugins.penalty.input_gradient import interpolate, norm_deviation, squared_norm

PENALTIES = ["r1", "r2", "zero_centered_penalty", "dragan"]


def images(seed=0, *shape):
    return torch.randn(*(shape or (3, 2, 4, 4)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(w):
    return lambda x, labels: (x * w).flatten(1).sum(1)


def half_square(x, labels):
    """Return |x|^2 / 2, whose gradient is x: the penalty shows at which points it was computed."""
    return x.square().flatten(1).sum(1) / 2


@settings(deadline=None)
@given(st.floats(0, 4), st.integers(1, 3))
def test_values_for_a_linear_discriminator(length, channels):
    w = images(0, channels, 4, 4)
    w = w / w.norm() * length
    real = images(1, 3, channels, 4, 4)
    assert squared_norm(linear(w), real, None).item() == pytest.approx(length**2, abs=1e-12)
    assert norm_deviation(linear(w), real, None, 1.0).item() == pytest.approx((length - 1) ** 2, abs=1e-12)


def test_several_logits_of_an_image_count_as_their_mean():
    w, real = images(0, 5, 2, 4, 4), images(1)

    def patches(x, labels):
        return torch.einsum("bcij,kcij->bk", x, w).view(-1, 1, 5)

    gradient = sum(w[k] for k in range(5)) / 5
    assert squared_norm(patches, real, None).item() == pytest.approx(gradient.square().sum().item())


def test_values_are_means_over_the_images():
    real, fake = images(1), images(2)
    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64).view(3, 1, 1, 1)
    between = torch.stack([t[i] * real[i] + (1 - t[i]) * fake[i] for i in range(3)])
    points = interpolate(real, fake, t)
    torch.testing.assert_close(points, between)
    expected = sum(x.norm() ** 2 for x in between).item() / 3
    assert squared_norm(half_square, points, None).item() == pytest.approx(expected)
    expected = sum((x.norm() - 1) ** 2 for x in between).item() / 3
    assert norm_deviation(half_square, points, None, 1).item() == pytest.approx(expected)


def test_dragan_points_are_between_an_image_and_its_noisy_copy():
    real, noise = images(1), torch.rand(3, 2, 4, 4, dtype=torch.float64)
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64).view(3, 1, 1, 1)
    std = (sum((x - real.mean()) ** 2 for x in real.flatten()) / real.numel()) ** 0.5
    x_hat = perturb(real, noise, t, 0.5)
    assert torch.equal(x_hat[0], real[0])
    torch.testing.assert_close(x_hat[2], real[2] + 0.5 * std * noise[2])
    torch.testing.assert_close(x_hat[1], (real[1] + (real[1] + 0.5 * std * noise[1])) / 2)


def test_gradient_for_d_equals_finite_differences():
    torch.manual_seed(1)
    D = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 1)).double()
    x = images(1, 2, 3, 5, 5)

    def penalty():
        return norm_deviation(lambda x, labels: D(x).flatten(), x, None, 1)

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


def test_gradient_for_a_linear_discriminator():
    """d/dw of |w|^2 is 2 w."""
    w = images(3, 2, 4, 4).requires_grad_()
    squared_norm(linear(w), images(1), None).backward()
    torch.testing.assert_close(w.grad, 2 * w.detach())


def test_flat_discriminator_has_the_value_1_and_a_finite_gradient():
    w = torch.zeros(1, 3, 3, requires_grad=True)
    x = torch.randn(4, 1, 3, 3)
    penalty = norm_deviation(linear(w), x, None, 1)
    penalty.backward()
    assert penalty.item() == 1.0
    assert w.grad.isfinite().all()


def test_norm_of_bfloat16_gradients_is_in_float32():
    """A bfloat16 sum of the squares of a thousand slopes of 1/16 would stop growing."""
    x = torch.zeros(2, 1, 32, 32, dtype=torch.bfloat16)
    w = torch.full((1, 32, 32), 1 / 16, dtype=torch.bfloat16)
    penalty = norm_deviation(linear(w), x, None, 1)
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
    real = torch.ones(len(labels), 1, 2, 2)
    return Step(run, "discriminator", real, labels, torch.zeros(len(labels), 1), torch.zeros_like(real))


def test_term_uses_the_label_of_each_image():
    step = new_step()
    (term,) = GradientPenalty(GradientPenalty.Config()).loss_terms("discriminator")
    value = term.function(step)
    assert value.item() == pytest.approx((0 + 1 + 4) / 3)
    value.backward()
    torch.testing.assert_close(step.run.discriminator.slopes.grad, torch.tensor([0.0, 2.0, 4.0]) / 3)


def test_points_are_uniform_between_the_inputs_of_d():
    torch.manual_seed(0)
    step = new_step([0] * 4000, shift=10.0)
    (term,) = GradientPenalty(GradientPenalty.Config()).loss_terms("discriminator")
    term.function(step)
    (x_hat,) = step.run.discriminator.inputs
    t = x_hat - 10.0
    assert torch.equal(t.amin(dim=(1, 2, 3)), t.amax(dim=(1, 2, 3)))
    t = t[:, 0, 0, 0]
    assert (t.min() >= 0) & (t.max() <= 1)
    quarters = torch.histc(t, bins=4, min=0, max=1) / len(t)
    assert (quarters - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


@pytest.mark.parametrize("name", [*PENALTIES, "gradient_penalty"])
def test_only_the_discriminator_has_the_term_with_its_interval(start_run, name):
    terms = start_run({"tricks": {name: {"every": 4}}}).terms
    assert [(t.name, t.every) for t in terms["discriminator"]][-1] == (name, 4)
    assert [t.name for t in terms["generator"]] == ["adversarial"]


@pytest.mark.parametrize(("name", "side"), [("r1", "real_inputs"), ("r2", "fake_inputs")])
def test_r1_and_r2_use_the_inputs_of_d(start_run, name, side):
    """With noise on D's inputs, the penalty uses the same noisy images."""
    run = start_run({"tricks": {"instance_noise": {"sigma": 0.5}, name: {}}})
    step = draw_step(run, "discriminator")
    *_, term = run.terms["discriminator"]
    step.require_input_gradients([term])
    inputs, _ = getattr(step, side)
    x = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(run.discriminator(x, None)[0].sum(), x)
    torch.testing.assert_close(term.function(step), gradient.square().sum((1, 2, 3)).mean() / 2)


def test_r1_and_r2_share_the_outputs_of_d_with_the_loss(start_run):
    """Gradients for D are those of separate passes of D, and D is called once for real and once for fake images."""
    run = start_run({"tricks": {"instance_noise": {"sigma": 0.5}, "r1": {"gamma": 3.0, "every": 2}, "r2": {}}})
    D, steps, calls = run.discriminator, [], []
    run.before_step["discriminator"] = lambda run, step: steps.append(step)
    run.optimizers["discriminator"].step = lambda: gradients.append([p.grad.clone() for p in D.parameters()])
    gradients = []
    handle = D.register_forward_hook(lambda *_: calls.append(1))
    train_step(run, "discriminator")
    train_step(run, "discriminator")
    handle.remove()
    assert len(calls) == 4
    assert [step.real_inputs[0].requires_grad for step in steps] == [True, False]
    assert all(step.fake_inputs[0].requires_grad for step in steps)
    for step, found, gamma in zip(steps, gradients, (2 * 3.0, 0.0), strict=True):
        real, fake = (inputs[0].detach().requires_grad_() for inputs in (step.real_inputs, step.fake_inputs))
        loss = softplus(-D(real, None)[0]).mean() + softplus(D(fake, None)[0]).mean()
        for x, weight in ((real, gamma / 2), (fake, 10.0 / 2)):
            (gradient,) = torch.autograd.grad(D(x, None)[0].sum(), x, create_graph=True)
            loss = loss + weight * gradient.square().sum((1, 2, 3)).mean()
        expected = torch.autograd.grad(loss, list(D.parameters()))
        torch.testing.assert_close(found, list(expected))


def test_interpolated_points_use_the_inputs_of_d(start_run, monkeypatch):
    """Points: t real + (1 - t) fake for zero_centered_penalty, real images plus t times noise for dragan."""
    t = torch.rand(4, 1, 1, 1)
    for name in ("zero_centered_penalty", "dragan"):
        one = start_run({"tricks": {"instance_noise": {"sigma": 0.5}, name: {}}})
        step = draw_step(one, "discriminator")
        (real, _), (fake, _) = step.real_inputs, step.fake_inputs
        noise = torch.rand_like(real)
        monkeypatch.setattr("torch.rand", lambda *shape, device: t)
        monkeypatch.setattr("torch.rand_like", lambda like: noise)  # noqa: B023
        x = t * real + (1 - t) * fake if name != "dragan" else real + t * 0.5 * real.std(correction=0) * noise
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(one.discriminator(x, None)[0].sum(), x)
        lengths = gradient.square().sum((1, 2, 3)).sqrt()
        expected = lengths.square().mean() if name != "dragan" else (lengths - 1).square().mean()
        *_, term = one.terms["discriminator"]
        torch.testing.assert_close(term.function(step), expected)
        monkeypatch.undo()


@pytest.mark.parametrize("name", PENALTIES)
def test_flat_wasserstein_critic_causes_a_warning(start_run, name):
    warnings = start_run({"tricks": {name: {}, "weight_clipping": {}}, "loss": {"use": "wasserstein"}}).warnings
    assert any(s.startswith(f"tricks.{name}: a Wasserstein critic needs a slope") for s in warnings)


@pytest.mark.parametrize("name", [*PENALTIES, "gradient_penalty"])
def test_batch_norm_in_d_causes_a_warning(start_run, name):
    warnings = start_run({"tricks": {name: {}}, "normalization": {"discriminator": "batch_norm"}}).warnings
    assert any(s.startswith(f"tricks.{name}: the penalty needs the gradient of each single image") for s in warnings)
    assert start_run({"tricks": {name: {}}}).warnings == []
