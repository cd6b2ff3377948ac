"""Relativistic tricks, against the printed formulas of single losses, and with another loss."""

import pytest
import torch
from torch.nn import functional as F

from gankit import InputError
from gankit.training.update import draw_step

SIGMOID = torch.sigmoid


def pairs(r, f):
    return r - f, f - r


def averages(r, f):
    return r - f.mean(), f - r.mean()


# Losses of D. Those of G are the same with r and f exchanged.


def rsgan(r, f):
    """Equation 3: -E[log sigmoid(C(x_r) - C(x_f))], which the two halves give twice."""
    return -2 * torch.log(SIGMOID(r - f)).mean()


def rasgan(r, f):
    real, fake = averages(r, f)
    return -torch.log(SIGMOID(real)).mean() - torch.log(1 - SIGMOID(fake)).mean()


def ralsgan(r, f):
    """The paper's, with the labels 1 and -1, of 2 C; gankit's labels are 1 and 0."""
    real, fake = averages(2 * r, 2 * f)
    return (((real - 1) ** 2).mean() + ((fake + 1) ** 2).mean()) / 8 + 1 / 4


def rahinge(r, f):
    real, fake = averages(r, f)
    return torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()


def other(r, f):
    real, fake = pairs(r, f)
    return F.softplus(-3 * real).mean() + torch.cos(fake).mean()


OTHER = """
import torch
from torch.nn import functional as F
from gankit import Plugin, LossTerm, hookimpl

def d_loss(step):
    return F.softplus(-3 * step.real_output.logits).mean() + step.fake_output.logits.cos().mean()

class Other(Plugin):
    name, kind = "other", "loss"

    @hookimpl
    def loss_terms(self, player):
        if player == "discriminator":
            yield LossTerm("d", d_loss)
        else:
            yield LossTerm("never", lambda s: s.fake_output.logits.mean() * float("nan"))
"""


@pytest.fixture
def run(start_run, tmp_path):
    def make(trick, loss):
        if loss == "other":
            (tmp_path / "other.py").write_text(OTHER)
            loss = f"{tmp_path}/other.py:Other"
        return start_run({"loss": {"use": loss}, "tricks": {trick: {}}, "train": {"batch_size": 6}})

    return make


@pytest.mark.parametrize(
    ("trick", "loss", "formula"),
    [
        ("relativistic", "non_saturating", rsgan),
        ("relativistic_average", "non_saturating", rasgan),
        ("relativistic_average", "least_squares", ralsgan),
        ("relativistic_average", "hinge", rahinge),
        ("relativistic", "other", other),
    ],
)
def test_paper_formulas_and_their_gradients(run, trick, loss, formula):
    run = run(trick, loss)
    for player in ("discriminator", "generator"):
        (term,) = run.terms[player]
        step = draw_step(run, player)
        value = term.function(step)
        logits = [run.discriminator(images, None)[0] for images in (step.real, step.fake)]
        expected = formula(*(logits if player == "discriminator" else reversed(logits)))
        torch.testing.assert_close(value, expected)
        ours, theirs = (
            torch.autograd.grad(v, run.parameters["discriminator"], retain_graph=True) for v in (value, expected)
        )
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_generator_term_uses_its_target(run):
    """With G's target 0.8 the two cross entropies have 0.8 on the fake side and 0.2 on the real one."""
    run = run("relativistic", "non_saturating")
    step = draw_step(run, "generator")
    step.generator_target = 0.8
    (term,) = run.terms["generator"]
    apart = run.discriminator(step.fake, None)[0] - run.discriminator(step.real, None)[0]
    expected = F.binary_cross_entropy_with_logits(apart, torch.full_like(apart, 0.8))
    expected = expected + F.binary_cross_entropy_with_logits(-apart, torch.full_like(apart, 0.2))
    torch.testing.assert_close(term.function(step), expected)


def test_both_tricks_together_are_refused(assembled):
    with pytest.raises(
        InputError, match=r"tricks\.relativistic: relativistic_average already makes the logits relative"
    ):
        assembled({"tricks": {"relativistic": {}, "relativistic_average": {}}})


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average"])
def test_feature_matching_must_come_last(assembled, name):
    def run(*tricks, **settings):
        tables = {trick: settings if trick == "feature_matching" else {} for trick in tricks}
        return assembled({"tricks": tables})

    with pytest.raises(InputError, match="the trick comes after feature_matching and would replace its term for G"):
        run("feature_matching", name)
    last = run(name, "feature_matching")
    assert [t.name for t in last.terms["generator"]] == ["feature_matching"]
    assert any("feature_matching replaces the relativistic terms" in sentence for sentence in last.warnings)
    both = run(name, "feature_matching", adversarial_weight=0.5)
    assert [(t.name, t.weight) for t in both.terms["generator"]] == [("adversarial", 0.5), ("feature_matching", 1.0)]
    assert both.warnings == []


def test_weights_are_exchanged_with_the_sides(start_run):
    """G's loss is D's with the logits, targets and weights of real and fake images exchanged."""
    run = start_run({"loss": {"use": "igan_label"}, "tricks": {"relativistic_average": {}}})
    step = draw_step(run, "generator")
    step.real_weight, step.fake_weight = 0.7, 0.2
    r, f = step.real_output.logits, step.fake_output.logits
    (term,) = run.terms["generator"]
    real, fake = averages(r, f)
    swapped = -(0.2 * torch.log(SIGMOID(fake)) + 0.7 * torch.log(1 - SIGMOID(real))).mean()
    torch.testing.assert_close(term.function(step), swapped)


def test_mean_over_separate_networks_causes_a_warning(assembled):
    run = assembled({"tricks": {"relativistic_average": {}}}, "igan_vn")
    assert any("the mean over the batch mixes their logits" in sentence for sentence in run.warnings)
