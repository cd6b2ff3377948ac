"""Trick: weights of loss terms from learned uncertainties."""

import math

import pytest
import torch

from gankit import InputError, Recipe, Step
from gankit.recipe.toml import merge
from gankit.testing import train_iterations
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter
from gankit.training.update import backward, draw_step, due_terms, with_factors
from gankit_plugins.trick.uncertainty_weights import LogVariances, log_sigma, uncertainty_weight

TRICK = "uncertainty_weights"
BOTH = {
    "data": {"use": "rule_pairs", "rule": "grey", "images": {"use": "shapes", "count": 12, "resolution": 8}},
    "generator": {"use": "pix2pix", "width": 4},
    "discriminator": {"use": "conditional_patchgan", "width": 4, "patch": 16},
    "train": {"batch_size": 4},
}
TRICKS = {"l1_to_target": {"weight": 100.0}, TRICK: {"generator": ["adversarial", "l1_to_target"]}}


@pytest.fixture
def run(start_run):
    """Function that returns a run of pix2pix with learned weights of both terms of G."""
    return lambda tricks=TRICKS, **change: start_run(BOTH | {"tricks": tricks} | change)


def set_s(run, player, values):
    network = run.networks[f"uncertainty_{player}"]
    with torch.no_grad():
        network.scaled.copy_(torch.tensor(values) / network.rate)
    return network


def same_step(run):
    """Return a G step whose images are the same in each call."""
    rows = run.draw_reference(4)
    run.networks["generator"].eval()
    fake = run.generator(torch.zeros(4, run.spec.latent_size), rows.condition)
    return Step(run, "generator", rows.images, rows.condition, torch.zeros(4, run.spec.latent_size), fake)


def gradients_of(run, player, parts=1):
    """Add up the gradients of some equal parts of a batch, and return the values of the terms."""
    for _ in range(parts):
        terms = with_factors(run, player, due_terms(run, player, parts))
        values = backward(run, same_step(run), player, terms)
    return values


def test_equation_and_its_gradient_by_hand():
    """For L / (2 sigma^2) + log sigma and s = log sigma^2: dL = exp(-s) / 2, ds = (1 - L exp(-s)) / 2."""
    loss = torch.tensor([0.5, 4.0], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([-1.0, 0.7], dtype=torch.float64, requires_grad=True)
    sigma = (s / 2).exp()
    value = (uncertainty_weight(s) * loss).sum() + log_sigma(s)
    torch.testing.assert_close(value, (loss / (2 * sigma**2) + sigma.log()).sum())
    value.backward()
    torch.testing.assert_close(loss.grad, (-s).exp().detach() / 2)
    torch.testing.assert_close(s.grad, ((1 - loss * (-s).exp()) / 2).detach())


def test_best_variance_equals_the_loss():
    loss = torch.tensor([3.0, 0.1])
    s = loss.log().requires_grad_()
    (gradient,) = torch.autograd.grad((uncertainty_weight(s) * loss).sum() + log_sigma(s), s)
    assert gradient.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_rate_multiplies_the_change_of_s():
    s = LogVariances(2, 10.0)
    optimizer = torch.optim.Adam(s.parameters(), lr=0.01)
    s()[0].backward()
    optimizer.step()
    assert s().tolist() == pytest.approx([-0.1, 0])


def test_gradients_are_those_of_the_weighted_sum(run):
    run = run()
    network = set_s(run, "generator", [0.3, -1.2])
    values = gradients_of(run, "generator")
    found = [None if p.grad is None else p.grad.clone() for p in run.parameters["generator"]]
    run.optimizers["generator"].zero_grad()
    s, step = network(), same_step(run)
    terms = {term.name: term.function(step) for term in run.terms["generator"]}
    expected = (terms["adversarial"] * (-s[0]).exp() + 100 * terms["l1_to_target"] * (-s[1]).exp() + s.sum()) / 2
    expected.backward()
    torch.testing.assert_close(values, {name: value.detach() for name, value in terms.items()})
    assert terms["log_sigma"].item() == pytest.approx(-0.45)
    for gradient, parameter in zip(found, run.parameters["generator"], strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_other_terms_keep_their_weight_and_the_other_player_is_unchanged(run):
    only = {"l1_to_target": {"weight": 100.0}, TRICK: {"generator": ["l1_to_target"]}}
    weighted, plain = run(only), run({"l1_to_target": {"weight": 100.0}})
    set_s(weighted, "generator", [0.0])
    gradients = []
    for one in (weighted, plain):
        torch.manual_seed(0)
        terms = with_factors(one, "discriminator", due_terms(one, "discriminator", 1))
        backward(one, draw_step(one, "discriminator"), "discriminator", terms)
        gradients.append([p.grad for p in one.discriminator.parameters()])
    torch.testing.assert_close(*gradients)
    assert set(weighted.networks) == {"generator", "discriminator", "uncertainty_generator"}


def test_parts_of_a_batch_give_the_log_term_once(run):
    """The gradient of s over two equal parts is that of the whole batch: log sigma is not counted twice."""
    run = run(train={"batch_size": 4, "accumulate": 2})
    network = set_s(run, "generator", [0.3, -1.2])
    values = gradients_of(run, "generator", 2)
    losses = torch.stack([values["adversarial"], 100 * values["l1_to_target"]])
    expected = network.rate * (1 - losses * (-network()).exp()) / 2
    torch.testing.assert_close(network.scaled.grad, expected)


def test_weight_of_a_lazy_term_is_learned_too(start_run):
    """The term has n times its weight in every n-th step, so its mean gradient fits that of log sigma."""
    run = start_run({"tricks": {"r1": {"every": 2, "gamma": 6.0}, TRICK: {"discriminator": ["r1"]}}})
    set_s(run, "discriminator", [0.7])
    terms = [with_factors(run, "discriminator", due_terms(run, "discriminator", 1))]
    run.step_counts["discriminator"] = 1
    terms.append(with_factors(run, "discriminator", due_terms(run, "discriminator", 1)))
    weights = [{term.name: float(torch.as_tensor(term.weight).detach()) for term in one} for one in terms]
    plain = next(term.weight for term in run.terms["discriminator"] if term.name == "r1")
    assert weights[0] == {"adversarial": 1, "r1": pytest.approx(2 * plain / 2 * math.exp(-0.7)), "log_sigma": 1}
    assert weights[1] == {"adversarial": 1, "log_sigma": 1}


def test_sigma_is_logged(run):
    run = run()
    set_s(run, "generator", [0.0, 2.0])
    (plugin,) = (p for p in run.plugins.values() if p.name == TRICK)
    values = {name: value.item() for name, value in plugin.log_values(run).items()}
    assert values == {
        "sigma_generator_adversarial": pytest.approx(1),
        "sigma_generator_l1_to_target": pytest.approx(2.718282),
    }


def test_sigma_of_a_small_error_shrinks(run):
    run = run(optimizer={player: {"use": "adam", "lr": 0.01} for player in ("generator", "discriminator")})
    start = run.networks["uncertainty_generator"]().detach().clone()
    train_iterations(run, 3)
    s = run.networks["uncertainty_generator"]()
    assert torch.equal(start, torch.zeros(2))
    assert (s != 0).all()
    losses = run.values["generator"]
    assert (s[0] > 0) == (losses["adversarial"] > 1)
    assert s[1] > 0


def test_a_killed_run_resumes_with_the_same_sigma(tmp_path, plain_recipe):
    raw = merge(plain_recipe("igan"), {"tricks": {TRICK: {"discriminator": ["adversarial"]}}})
    for name, iterations in (("whole", 4), ("part", 2)):
        start(Recipe.from_dict(merge(raw, {"train": {"iterations": iterations}})), tmp_path / name, Reporter())
    resume(tmp_path / "part", ["train.iterations=4"], Reporter())
    file = "checkpoints/000004/uncertainty_discriminator.safetensors"
    files = [tmp_path / name / file for name in ("whole", "part")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_unknown_term_is_an_error_that_lists_the_terms(start_run):
    with pytest.raises(InputError, match="the generator has no loss term 'l1'; its terms are adversarial, log_sigma"):
        start_run({"tricks": {TRICK: {"generator": ["l1"]}}})


@pytest.mark.parametrize(
    ("settings", "message"), [({}, "name loss terms"), ({"generator": ["a", "a"]}, "listed twice")]
)
def test_settings_that_mean_nothing_are_refused(assembled, settings, message):
    with pytest.raises(Exception, match=message):
        assembled({"tricks": {TRICK: settings}})
