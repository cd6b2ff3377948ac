"""Trick: unrolled discriminator."""

import copy
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gankit import DiscriminatorOutput, InputError, LossTerm, Recipe, Spec, Step
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.update import backward, draw_step, due_terms, train_step
from gankit_plugins.loss.non_saturating import NonSaturating
from gankit_plugins.penalty.dragan import Dragan
from gankit_plugins.penalty.gradient_penalty import GradientPenalty
from gankit_plugins.penalty.r1 import R1
from gankit_plugins.penalty.r2 import R2
from gankit_plugins.penalty.zero_centered_penalty import ZeroCenteredPenalty
from gankit_plugins.trick.feature_matching import feature_matching
from gankit_plugins.trick.unrolled_discriminator import UnrolledDiscriminator, unroll, with_parameters


def plugin(**settings):
    return UnrolledDiscriminator(UnrolledDiscriminator.Config(**settings))


def double(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_quadratic_loss_has_the_closed_form(steps):
    """Loss (theta - x)^2 / 2 moves theta to x + (1 - lr)^k (theta - x), whose derivative by x is 1 - (1 - lr)^k."""
    theta, x, lr = double(3.0).requires_grad_(), double(0.5).requires_grad_(), 0.2
    end = unroll({"theta": theta}, lambda at: (at["theta"] - x).square() / 2, lr, steps)["theta"]
    torch.testing.assert_close(end.detach(), 0.5 + 0.8**steps * double(2.5))
    by_theta, by_x = torch.autograd.grad(end, (theta, x), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(by_theta, double(0.8**steps))
    torch.testing.assert_close(by_x, double(1 - 0.8**steps))


def test_parameter_that_the_loss_does_not_read_stays():
    theta = {"read": double(1.0).requires_grad_(), "unread": double(2.0).requires_grad_()}
    end = unroll(theta, lambda at: at["read"].square(), 0.1, 3)
    assert end["unread"].item() == 2.0
    torch.testing.assert_close(end["read"].detach(), double(0.8**3))


class Line(nn.Module):
    """D(x) = w x, one parameter."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(double(w))

    def forward(self, images, labels):
        return self.w * images.flatten(), images.flatten(1)


class Curved(nn.Module):
    """Small smooth D in float64 with a norm, whose buffers change in every call."""

    def __init__(self, norm):
        super().__init__()
        torch.manual_seed(2)
        first = nn.Conv2d(1, 4, 3)
        self.body = nn.Sequential(
            spectral_norm(first) if norm == "spectral" else first,
            {
                "batch": nn.BatchNorm2d(4),
                "instance": nn.InstanceNorm2d(4, affine=True),
                "layer": nn.LayerNorm((4, 2, 2)),
            }.get(norm, nn.Identity()),
            nn.Tanh(),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * 4, 1)
        self.double()

    def forward(self, images, labels):
        features = self.body(images)
        return DiscriminatorOutput(self.head(features)[:, 0], features)


def new_game(network, terms=None, before=lambda run, step: None):
    terms = list(NonSaturating(NonSaturating.Config()).loss_terms("discriminator")) if terms is None else terms
    return SimpleNamespace(
        discriminator=network,
        parameters={"discriminator": list(network.parameters())},
        discriminator_inputs=lambda images, labels, source, player: (images, labels),
        terms={"discriminator": terms},
        before_step={"discriminator": before},
        spec=Spec(channels=1),
        ranks=SimpleNamespace(mean=lambda x: x),
    )


def new_step(run, real, fake):
    return Step(run, "generator", real, None, torch.zeros(len(real), 1), fake)


def frozen(network):
    return network.requires_grad_(False)


def generator_loss(step):
    (term,) = NonSaturating(NonSaturating.Config()).loss_terms("generator")
    return term.function(step)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def test_derivative_of_one_step_on_a_line():
    """D = w x, L_D = -ln s(w r) - ln(1 - s(w f)), so w' = w + lr (r s(-w r) - f s(w f)), and L_G = -ln s(w' f)."""
    w, r, f, lr = 0.7, double(1.3), double(-0.4), 0.25
    run = new_game(frozen(Line(w)))
    fake = f.reshape(1, 1, 1, 1).clone().requires_grad_()
    step = new_step(run, r.reshape(1, 1, 1, 1), fake)
    plugin(steps=1, lr=lr).before_g_step(run, step)
    generator_loss(step).backward()
    after = w + lr * (r * sigmoid(-w * r) - f * sigmoid(w * f))
    dafter_df = -lr * (sigmoid(w * f) + f * w * sigmoid(w * f) * sigmoid(-w * f))
    torch.testing.assert_close(step.fake_output.logits[0].detach(), after * f)
    torch.testing.assert_close(fake.grad.flatten()[0], -sigmoid(-after * f) * (after + f * dafter_df))


def images(seed, count=5):
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def adversarial():
    return list(NonSaturating(NonSaturating.Config()).loss_terms("discriminator"))


def r1(step):
    """Half the squared length of D's gradient at real images, as a term of its own."""
    shown, labels = step.real_inputs
    shown = shown.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(step.discriminate(shown, labels).logits.sum(), shown, create_graph=True)
    return gradient.square().sum() / (2 * len(shown))


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "layer", "spectral"])
@pytest.mark.parametrize("penalty", [None, R1, R2, GradientPenalty, ZeroCenteredPenalty, Dragan])
@pytest.mark.parametrize("matching", [False, True])
def test_generators_gradient_against_finite_differences(norm, penalty, matching):
    if norm != "none" and penalty not in (None, R1):
        return
    terms = penalty(penalty.Config(every=4)).loss_terms("discriminator") if penalty else []
    network = frozen(Curved(norm))
    if norm == "spectral":
        # Spectral norm updates its singular vectors in training, without a gradient.
        network.eval()
    run, real, fake = new_game(network, [*adversarial(), *terms]), images(0), images(1)

    def loss(fake):
        # Some penalties draw where they are taken.
        torch.manual_seed(3)
        step = new_step(run, real, fake)
        plugin(steps=3, lr=0.03).before_g_step(run, step)
        if matching:
            return feature_matching(step.real_output.features, step.fake_output.features)
        return generator_loss(step)

    fake.requires_grad_()
    loss(fake).backward()
    h = 1e-5
    for place in [(0, 0, 0, 0), (1, 0, 2, 3), (3, 0, 1, 1), (4, 0, 3, 2)]:
        nudge = torch.zeros_like(fake)
        nudge[place] = h
        # Without requires_grad the steps themselves would not be differentiable.
        up, down = (loss((fake.detach() + s * nudge).requires_grad_()).item() for s in (1, -1))
        assert fake.grad[place].item() == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-10)


def test_steps_are_gradient_descent_on_a_copy():
    network, real, fake = Curved("none"), images(0), images(1)
    copied = copy.deepcopy(network)
    optimizer = torch.optim.SGD(copied.parameters(), lr=0.3)
    for _ in range(4):
        step = Step(new_game(copied), "discriminator", real, None, torch.zeros(5, 1), fake)
        loss = sum(term.weight * term.function(step) for term in [*adversarial(), LossTerm("r1", r1, weight=0.5)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A lazy term counts with its plain weight in every step.
    run = new_game(frozen(network), [*adversarial(), LossTerm("r1", r1, weight=0.5, every=16)])
    step = new_step(run, real, fake.requires_grad_())
    plugin(steps=4, lr=0.3).before_g_step(run, step)
    expected = copied(fake, None).logits
    torch.testing.assert_close(step.fake_output.logits, expected)
    assert not torch.allclose(expected, network(fake, None).logits)


def test_more_steps_lower_the_discriminators_loss():
    run, real, fake = new_game(frozen(Curved("none"))), images(0), images(1).requires_grad_()
    (term,) = adversarial()
    losses = []
    for steps in (0, 1, 5, 20):
        step = new_step(run, real, fake)
        plugin(steps=steps, lr=0.1).before_g_step(run, step)
        losses.append(term.function(step).item())
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[1] > losses[2] > losses[3]


@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
def test_discriminator_itself_is_left_as_it_is(norm):
    network = frozen(Curved(norm))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    # A plugin that calls D in its hook, too.
    asking = new_game(network, before=lambda run, step: step.real_output)
    run, fake = asking, images(1).requires_grad_()
    step = new_step(run, images(0), fake)
    plugin(steps=3).before_g_step(run, step)
    (generator_loss(step) + step.real_output.logits.sum()).backward()
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_other_parameters_than_those_that_learn_take_no_step():
    network = frozen(Curved("none"))
    run, fake = new_game(network), images(1).requires_grad_()
    run.parameters["discriminator"] = list(network.head.parameters())
    step = new_step(run, images(0), fake)
    plugin(steps=3).before_g_step(run, step)
    assert torch.equal(step.fake_output.features, network(fake, None).features)
    assert not torch.equal(step.fake_output.logits, network(fake, None).logits)


def test_simulated_steps_have_the_targets_of_d_and_the_images_of_the_step():
    seen = []

    def before(run, step):
        seen.append(step)
        assert step.simulated
        assert step.player == "discriminator"
        step.real_target, step.real, step.fake = 0.8, step.real + 9, step.fake.detach() + 9

    run, fake = new_game(frozen(Line(0.7)), before=before), images(1).requires_grad_()
    step, real = new_step(run, images(0), fake), images(0)
    plugin(steps=2).before_g_step(run, step)
    assert len(seen) == 1
    assert seen[0].fake is fake
    assert torch.equal(seen[0].real, real)
    assert (step.real_target, step.simulated, step.player) == (1.0, False, "generator")

    def judged(target):
        run = new_game(frozen(Line(0.7)), before=lambda run, step: setattr(step, "real_target", target))
        other = new_step(run, real, fake)
        plugin(steps=2).before_g_step(run, other)
        return other.fake_output.logits

    assert torch.equal(step.fake_output.logits, judged(0.8))
    assert not torch.equal(step.fake_output.logits, judged(1.0))


def test_without_steps_nothing_changes():
    run = new_game(Line(0.7))
    step = new_step(run, images(0), images(1))
    plugin(steps=0).before_g_step(run, step)
    assert step.discriminator is None


def test_discriminator_that_torch_cannot_differentiate_twice_is_refused():
    class Odd(Line):
        def forward(self, images, labels):
            distance = torch.cdist(self.w * images.flatten(1), torch.ones(1, 16, dtype=torch.float64))
            return distance[:, 0], images.flatten(1)

    run = new_game(frozen(Odd(0.7)))
    step = new_step(run, images(0), images(1).requires_grad_())
    with pytest.raises(
        InputError, match=r"torch cannot compute the derivative of D's gradients \(.*_cdist_backward.*remove the trick"
    ):
        plugin().before_g_step(run, step)


class Wrapped(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images, labels):
        return self.network(images, labels)


@pytest.mark.parametrize("wrap", [lambda network: network, Wrapped], ids=["bare", "wrapped"])
def test_with_parameters_gives_the_output_of_the_network(wrap):
    network = wrap(Curved("batch"))
    theta = {name: p + 0.1 for name, p in network.named_parameters()}
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for p in moved.parameters():
            p += 0.1
    output = with_parameters(network, theta)(images(0), None)
    torch.testing.assert_close(output.logits, moved(images(0), None).logits)


def played_game(plain_recipe, change):
    run = assemble(Recipe.from_dict(merge(plain_recipe(), change)))
    run.load_data()
    run.start()
    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_g_step_changes_only_g(plain_recipe, precision):
    tricks = {"unrolled_discriminator": {"steps": 2}, "gradient_penalty": {}, "label_smoothing": {"real": [0.8, 1.0]}}
    change = {"train": {"precision": precision}, "normalization": {"discriminator": "batch_norm"}, "tricks": tricks}
    run = played_game(plain_recipe, change)
    train_step(run, "discriminator")
    before = {name: tensor.clone() for name, tensor in run.discriminator.state_dict().items()}
    with run.autocast():
        step = draw_step(run, "generator")
        run.before_step["generator"](run, step)
    backward(run, step, "generator", due_terms(run.terms["generator"], 0, 1))
    for p in run.parameters["generator"]:
        assert p.grad.isfinite().all()
        assert p.grad.dtype == torch.float32
    train_step(run, "generator")
    assert all(torch.equal(run.discriminator.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(p.requires_grad for p in run.parameters["discriminator"])
    assert all(p.grad is None for p in run.parameters["discriminator"])


def test_bf16_is_near_fp32(plain_recipe):
    outputs = []
    for precision in ("fp32", "bf16"):
        run = played_game(
            plain_recipe, {"train": {"precision": precision}, "tricks": {"unrolled_discriminator": {"lr": 0.1}}}
        )
        with run.autocast():
            step = draw_step(run, "generator")
            step.fake = (step.fake * 0).add(0.1 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
            run.before_step["generator"](run, step)
            outputs.append(step.fake_output.logits.float().detach())
    # bfloat16 has 8 bits: a few times 2^-8 for the roundings of five steps and an output.
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=8 * 2**-8 * outputs[0].abs().max().item())


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"steps": 1.5}, {"lr": 0.0}, {"lr": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        UnrolledDiscriminator.Config(**wrong)


def test_in_a_run_without_steps(in_a_run):
    in_a_run({"tricks": {"unrolled_discriminator": {"steps": 0}}}, changes=False)
