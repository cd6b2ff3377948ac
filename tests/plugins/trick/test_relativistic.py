"""Relativistic tricks, against the printed formulas of single losses, and with an unknown loss."""

import pytest
import torch
from torch.nn import functional as F

from gankit import InputError, Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.update import draw_step

SIGMOID = torch.sigmoid


def pairs(r, f):
    return r - f, f - r


def averages(r, f):
    return r - f.mean(), f - r.mean()


def rsgan_d(r, f):
    """Equation 3: -E[log sigmoid(C(x_r) - C(x_f))], which the two halves give twice."""
    return -2 * torch.log(SIGMOID(r - f)).mean()


def rsgan_g(r, f):
    """Equation 4."""
    return -2 * torch.log(SIGMOID(f - r)).mean()


def rasgan_d(r, f):
    real, fake = averages(r, f)
    return -torch.log(SIGMOID(real)).mean() - torch.log(1 - SIGMOID(fake)).mean()


def rasgan_g(r, f):
    real, fake = averages(r, f)
    return -torch.log(SIGMOID(fake)).mean() - torch.log(1 - SIGMOID(real)).mean()


def ralsgan_d(r, f):
    """The paper's, with the labels 1 and -1, of 2 C; gankit's labels are 1 and 0."""
    real, fake = averages(2 * r, 2 * f)
    return (((real - 1) ** 2).mean() + ((fake + 1) ** 2).mean()) / 8 + 1 / 4


def ralsgan_g(r, f):
    real, fake = averages(2 * r, 2 * f)
    return (((fake - 1) ** 2).mean() + ((real + 1) ** 2).mean()) / 8 + 1 / 4


def rahinge_d(r, f):
    real, fake = averages(r, f)
    return torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()


def rahinge_g(r, f):
    real, fake = averages(r, f)
    return torch.clamp(1 - fake, min=0).mean() + torch.clamp(1 + real, min=0).mean()


def stranger_d(r, f):
    real, fake = pairs(r, f)
    return F.softplus(-3 * real).mean() + torch.cos(fake).mean()


def stranger_g(r, f):
    real, fake = pairs(r, f)
    return F.softplus(-3 * fake).mean() + torch.cos(real).mean()


STRANGER = """
import torch
from torch.nn import functional as F
from gankit import Plugin, LossTerm, hookimpl

def odd(step):
    return F.softplus(-3 * step.real_output.logits).mean() + step.fake_output.logits.cos().mean()

class Stranger(Plugin):
    name, kind = "stranger", "loss"

    @hookimpl
    def loss_terms(self, player):
        if player == "discriminator":
            yield LossTerm("odd", odd)
        else:
            yield LossTerm("never", lambda s: s.fake_output.logits.mean() * float("nan"))
"""


@pytest.fixture
def run(plain_recipe, tmp_path):
    def make(trick, loss):
        if loss == "stranger":
            (tmp_path / "stranger.py").write_text(STRANGER)
            loss = f"{tmp_path}/stranger.py:Stranger"
        raw = merge(plain_recipe("igan"), {"loss": {"use": loss}, "tricks": {trick: {}}, "train": {"batch_size": 6}})
        made = assemble(Recipe.from_dict(raw))
        made.load_data()
        made.start()
        return made

    return make


@pytest.mark.parametrize(
    ("trick", "loss", "of_d", "of_g"),
    [
        ("relativistic", "non_saturating", rsgan_d, rsgan_g),
        ("relativistic_average", "non_saturating", rasgan_d, rasgan_g),
        ("relativistic_average", "least_squares", ralsgan_d, ralsgan_g),
        ("relativistic_average", "hinge", rahinge_d, rahinge_g),
        ("relativistic", "stranger", stranger_d, stranger_g),
    ],
)
def test_paper_formulas_and_their_gradients(run, trick, loss, of_d, of_g):
    run = run(trick, loss)
    for player, formula in (("discriminator", of_d), ("generator", of_g)):
        (term,) = run.terms[player]
        step = draw_step(run, player)
        asked = run.parameters["discriminator"]
        value = term.function(step)
        expected = formula(run.discriminator(step.real, None)[0], run.discriminator(step.fake, None)[0])
        torch.testing.assert_close(value, expected)
        ours, theirs = (torch.autograd.grad(v, asked, retain_graph=True) for v in (value, expected))
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


def test_both_tricks_together_are_refused(plain_recipe):
    raw = merge(plain_recipe(), {"tricks": {"relativistic": {}, "relativistic_average": {}}})
    with pytest.raises(
        InputError, match=r"tricks\.relativistic: relativistic_average already makes the logits relative"
    ):
        assemble(Recipe.from_dict(raw))


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average"])
def test_feature_matching_must_come_last(plain_recipe, name):
    def run(*tricks, **settings):
        tables = {trick: settings if trick == "feature_matching" else {} for trick in tricks}
        return assemble(Recipe.from_dict(merge(plain_recipe("igan"), {"tricks": tables})))

    with pytest.raises(InputError, match="the trick comes after feature_matching and would replace its term for G"):
        run("feature_matching", name)
    last = run(name, "feature_matching")
    assert [t.name for t in last.terms["generator"]] == ["feature_matching"]
    assert any("feature_matching replaces the relativistic terms" in sentence for sentence in last.warnings)
    both = run(name, "feature_matching", adversarial_weight=0.5)
    assert [(t.name, t.weight) for t in both.terms["generator"]] == [("adversarial", 0.5), ("feature_matching", 1.0)]
    assert both.warnings == []


def test_weights_are_exchanged_with_the_sides(plain_recipe):
    """G's loss is D's with the logits, targets and weights of real and fake images exchanged."""
    tricks = {"relativistic_average": {}}
    run = assemble(Recipe.from_dict(merge(plain_recipe("igan"), {"loss": {"use": "igan_label"}, "tricks": tricks})))
    run.load_data()
    run.start()
    step = draw_step(run, "generator")
    step.real_weight, step.fake_weight = 0.7, 0.2
    r, f = step.real_output.logits, step.fake_output.logits
    (term,) = run.terms["generator"]
    real, fake = averages(r, f)
    swapped = -(0.2 * torch.log(SIGMOID(fake)) + 0.7 * torch.log(1 - SIGMOID(real))).mean()
    torch.testing.assert_close(term.function(step), swapped)


def test_mean_over_separate_networks_causes_a_warning(plain_recipe):
    run = assemble(Recipe.from_dict(merge(plain_recipe("igan_vn"), {"tricks": {"relativistic_average": {}}})))
    assert any("the mean over the batch mixes their logits" in sentence for sentence in run.warnings)
