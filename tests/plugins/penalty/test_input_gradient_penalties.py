"""r1, r2, zero-centred and DRAGAN, against discriminators whose gradient is known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.update import draw_step
from gankit_plugins.penalty.dragan import around, dragan
from gankit_plugins.penalty.r1 import r1
from gankit_plugins.penalty.r2 import r2
from gankit_plugins.penalty.zero_centered_penalty import zero_centered_penalty

PENALTIES = ["r1", "r2", "zero_centered_penalty", "dragan"]


def images(seed=0, *shape):
    return torch.randn(*(shape or (3, 2, 4, 4)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(w):
    return lambda x, labels: (x * w).flatten(1).sum(1)


def half_square(x, labels):
    """|x|^2 / 2, whose gradient is x itself: the penalty tells where it was taken."""
    return x.square().flatten(1).sum(1) / 2


@settings(deadline=None)
@given(st.floats(0, 4), st.integers(1, 3))
def test_a_linear_d_has_the_closed_form(length, channels):
    w = images(0, channels, 4, 4)
    w = w / w.norm() * length
    real, fake = images(1, 3, channels, 4, 4), images(2, 3, channels, 4, 4)
    assert r1(linear(w), real, None).item() == pytest.approx(length**2 / 2, abs=1e-12)
    assert r2(linear(w), fake, None).item() == pytest.approx(length**2 / 2, abs=1e-12)
    assert zero_centered_penalty(linear(w), real, fake, None, 0.3).item() == pytest.approx(length**2, abs=1e-12)
    assert dragan(linear(w), real, None, 1.0).item() == pytest.approx((length - 1) ** 2, abs=1e-12)


def test_each_is_taken_where_it_says():
    real, fake = images(1), images(2)
    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64).view(3, 1, 1, 1)
    between = torch.stack([t[i] * real[i] + (1 - t[i]) * fake[i] for i in range(3)])
    assert r1(half_square, real, None).item() == pytest.approx(sum(x.norm() ** 2 for x in real).item() / 6)
    assert r2(half_square, fake, None).item() == pytest.approx(sum(x.norm() ** 2 for x in fake).item() / 6)
    expected = sum(x.norm() ** 2 for x in between).item() / 3
    assert zero_centered_penalty(half_square, real, fake, None, t).item() == pytest.approx(expected)


def test_dragans_points_lie_between_an_image_and_its_noisy_copy():
    real, noise = images(1), torch.rand(3, 2, 4, 4, dtype=torch.float64)
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64).view(3, 1, 1, 1)
    std = (sum((x - real.mean()) ** 2 for x in real.flatten()) / real.numel()) ** 0.5
    x_hat = around(real, noise, t, 0.5)
    assert torch.equal(x_hat[0], real[0])
    torch.testing.assert_close(x_hat[2], real[2] + 0.5 * std * noise[2])
    torch.testing.assert_close(x_hat[1], (real[1] + (real[1] + 0.5 * std * noise[1])) / 2)


def test_what_d_learns_from_it_has_the_closed_form():
    """d/dw of |w|^2 / 2 is w."""
    w = images(3, 2, 4, 4).requires_grad_()
    r1(linear(w), images(1), None).backward()
    torch.testing.assert_close(w.grad, w.detach())


def test_no_gradient_flows_back_to_the_images():
    fake = images(2).requires_grad_()
    w = images(3, 2, 4, 4).requires_grad_()
    zero_centered_penalty(linear(w), images(1), fake, None, 0.5).backward()
    assert fake.grad is None


@pytest.fixture
def run(plain_recipe):
    def make(change, base="igan"):
        made = assemble(Recipe.from_dict(merge(plain_recipe(base), change)))
        made.load_data()
        made.start()
        return made

    return make


@pytest.mark.parametrize("name", PENALTIES)
def test_the_term_is_ds_alone_and_lazy_where_asked(run, name):
    terms = run({"tricks": {name: {"every": 4}}}).terms
    assert [(t.name, t.every) for t in terms["discriminator"]][-1] == (name, 4)
    assert [t.name for t in terms["generator"]] == ["adversarial"]


@pytest.mark.parametrize(("name", "side"), [("r1", "real_inputs"), ("r2", "fake_inputs")])
def test_it_is_taken_at_what_d_is_really_shown(run, name, side):
    """With noise on D's inputs the penalty is at the noisy images that D judges, not at others."""
    run = run({"tricks": {"instance_noise": {"sigma": 0.5}, name: {}}})
    step = draw_step(run, "discriminator")
    *_, term = run.terms["discriminator"]
    shown, _ = getattr(step, side)
    x = shown.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(run.discriminator(x, None)[0].sum(), x)
    torch.testing.assert_close(term.function(step), gradient.square().sum((1, 2, 3)).mean() / 2)


def test_the_points_between_are_of_what_d_is_shown(run, monkeypatch):
    """zero_centered_penalty: t of the real and 1 - t of the fake; dragan: t of uniform noise around the real."""
    t = torch.rand(4, 1, 1, 1)
    for name, module in [("zero_centered_penalty", "zero_centered_penalty"), ("dragan", "dragan")]:
        one = run({"tricks": {"instance_noise": {"sigma": 0.5}, name: {}}})
        step = draw_step(one, "discriminator")
        (real, _), (fake, _) = step.real_inputs, step.fake_inputs
        noise = torch.rand_like(real)
        monkeypatch.setattr(f"gankit_plugins.penalty.{module}.torch.rand", lambda *shape, device: t)
        monkeypatch.setattr(f"gankit_plugins.penalty.{module}.torch.rand_like", lambda like: noise)  # noqa: B023
        x = t * real + (1 - t) * fake if name != "dragan" else real + t * 0.5 * real.std(correction=0) * noise
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(one.discriminator(x, None)[0].sum(), x)
        lengths = gradient.square().sum((1, 2, 3)).sqrt()
        expected = lengths.square().mean() if name != "dragan" else (lengths - 1).square().mean()
        *_, term = one.terms["discriminator"]
        torch.testing.assert_close(term.function(step), expected)
        monkeypatch.undo()


@pytest.mark.parametrize("name", PENALTIES)
def test_a_wasserstein_critic_is_not_to_be_flattened(run, name):
    advice = run({"tricks": {name: {}, "weight_clipping": {}}, "loss": {"use": "wasserstein"}}).advice
    assert any(s.startswith(f"tricks.{name}: a Wasserstein critic has to have a slope") for s in advice)


@pytest.mark.parametrize("name", [*PENALTIES, "gradient_penalty"])
def test_batch_norm_in_d_is_advised_against(run, name):
    advice = run({"tricks": {name: {}}, "normalization": {"discriminator": "batch_norm"}}).advice
    assert any(s.startswith(f"tricks.{name}: the penalty takes each image's gradient by itself") for s in advice)
    assert run({"tricks": {name: {}}}).advice == []


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_in_a_run(in_a_run, name, base):
    in_a_run({"tricks": {name: {"every": 2}}}, base=base)


@pytest.mark.parametrize("name", PENALTIES)
def test_in_a_run_in_bf16(in_a_run, name):
    in_a_run({"tricks": {name: {}}, "train": {"precision": "bf16"}})
