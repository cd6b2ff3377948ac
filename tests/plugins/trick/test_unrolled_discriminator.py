"""Trick: unrolled discriminator."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gankit import DiscriminatorOutput, InputError, LossTerm, Spec, Step
from gankit.training.update import draw_step
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


def new_run(network, terms=None, before=lambda run, step: None):
    terms = list(NonSaturating(NonSaturating.Config()).loss_terms("discriminator")) if terms is None else terms
    return SimpleNamespace(
        discriminator=network,
        parameters={"discriminator": list(network.parameters())},
        discriminator_inputs=lambda images, labels, source, player: (images, labels),
        terms={"discriminator": terms},
        before_step={"discriminator": before},
        spec=Spec(shape=(1, 32, 32)),
        ranks=SimpleNamespace(mean=lambda x: x),
    )


def new_step(run, real, fake):
    return Step(run, "generator", real, None, torch.zeros(len(real), 1), fake)


def frozen(network):
    return network.requires_grad_(False)


def generator_loss(step):
    (term,) = NonSaturating(NonSaturating.Config()).loss_terms("generator")
    return term.function(step)


def images(seed, count=5):
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def adversarial():
    return list(NonSaturating(NonSaturating.Config()).loss_terms("discriminator"))


def r1(step):
    """Half the squared length of D's gradient at real images, as a term of its own."""
    inputs, labels = step.real_inputs
    inputs = inputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(step.discriminate(inputs, labels).logits.sum(), inputs, create_graph=True)
    return gradient.square().sum() / (2 * len(inputs))


@pytest.mark.parametrize(
    ("norm", "penalty"),
    [("none", penalty) for penalty in (None, R1, R2, GradientPenalty, ZeroCenteredPenalty, Dragan)]
    + [(norm, penalty) for norm in ("batch", "instance", "layer", "spectral") for penalty in (None, R1)],
)
@pytest.mark.parametrize("matching", [False, True])
def test_generators_gradient_against_finite_differences(norm, penalty, matching):
    terms = penalty(penalty.Config(every=4)).loss_terms("discriminator") if penalty else []
    network = frozen(Curved(norm))
    if norm == "spectral":
        # Spectral norm updates its singular vectors in training, without a gradient.
        network.eval()
    run, real, fake = new_run(network, [*adversarial(), *terms]), images(0), images(1)

    def loss(fake):
        # Some penalties draw random points.
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
        step = Step(new_run(copied), "discriminator", real, None, torch.zeros(5, 1), fake)
        loss = sum(term.weight * term.function(step) for term in [*adversarial(), LossTerm("r1", r1, weight=0.5)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A lazy term counts with its plain weight in every step.
    run = new_run(frozen(network), [*adversarial(), LossTerm("r1", r1, weight=0.5, every=16)])
    step = new_step(run, real, fake.requires_grad_())
    plugin(steps=4, lr=0.3).before_g_step(run, step)
    expected = copied(fake, None).logits
    torch.testing.assert_close(step.fake_output.logits, expected)
    assert not torch.allclose(expected, network(fake, None).logits)


def test_terms_that_share_the_outputs_of_d_are_the_same_as_terms_of_their_own():
    def shared(step):
        (gradient,) = torch.autograd.grad(step.real_output.logits.sum(), step.real_inputs[0], create_graph=True)
        return gradient.square().sum() / (2 * len(gradient))

    gradients = []
    for term in (LossTerm("r1", r1), LossTerm("r1", shared, input_gradients=("real",))):
        run, fake = new_run(frozen(Curved("none")), [*adversarial(), term]), images(1).requires_grad_()
        step = new_step(run, images(0), fake)
        plugin(steps=2, lr=0.1).before_g_step(run, step)
        gradients.append(torch.autograd.grad(generator_loss(step), fake)[0])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
def test_discriminator_itself_does_not_change(norm):
    network = frozen(Curved(norm))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    # A plugin whose hook calls D.
    run, fake = new_run(network, before=lambda run, step: step.real_output), images(1).requires_grad_()
    step = new_step(run, images(0), fake)
    plugin(steps=3).before_g_step(run, step)
    (generator_loss(step) + step.real_output.logits.sum()).backward()
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_frozen_parameters_take_no_step():
    network = frozen(Curved("none"))
    run, fake = new_run(network), images(1).requires_grad_()
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

    run, fake = new_run(frozen(Line(0.7)), before=before), images(1).requires_grad_()
    step, real = new_step(run, images(0), fake), images(0)
    plugin(steps=2).before_g_step(run, step)
    assert len(seen) == 1
    assert seen[0].fake is fake
    assert torch.equal(seen[0].real, real)
    assert (step.real_target, step.simulated, step.player) == (1.0, False, "generator")

    def logits(target):
        run = new_run(frozen(Line(0.7)), before=lambda run, step: setattr(step, "real_target", target))
        other = new_step(run, real, fake)
        plugin(steps=2).before_g_step(run, other)
        return other.fake_output.logits

    assert torch.equal(step.fake_output.logits, logits(0.8))
    assert not torch.equal(step.fake_output.logits, logits(1.0))


def test_without_steps_nothing_changes():
    run = new_run(Line(0.7))
    step = new_step(run, images(0), images(1))
    plugin(steps=0).before_g_step(run, step)
    assert step.discriminator is None


def test_discriminator_that_torch_cannot_differentiate_twice_is_refused():
    class Odd(Line):
        def forward(self, images, labels):
            distance = torch.cdist(self.w * images.flatten(1), torch.ones(1, 16, dtype=torch.float64))
            return distance[:, 0], images.flatten(1)

    run = new_run(frozen(Odd(0.7)))
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


def test_bf16_is_near_fp32(start_run):
    outputs = []
    for precision in ("fp32", "bf16"):
        run = start_run(
            {"train": {"precision": precision}, "tricks": {"unrolled_discriminator": {"lr": 0.1}}}, "igan_vn"
        )
        with run.autocast():
            step = draw_step(run, "generator")
            step.fake = (step.fake * 0).add(0.1 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
            run.before_step["generator"](run, step)
            outputs.append(step.fake_output.logits.float().detach())
    # bfloat16 has 8 bits: a few times 2^-8 for the roundings of five steps and an output.
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=8 * 2**-8 * outputs[0].abs().max().item())
