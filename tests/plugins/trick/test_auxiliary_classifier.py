"""Trick: auxiliary classifier (AC-GAN)."""

import math

import pytest
import torch
from torch import nn

from gankit import DiscriminatorOutput
from gankit.errors import RecipeError
from gankit.plugin.slots import PLAYERS
from gankit.testing import train_iterations
from gankit.training.update import draw_step
from gankit_plugins.layers.class_logits import ClassifyingDiscriminator, class_loss

TRICK = "auxiliary_classifier"
WEIGHTS = {"real_weight": 2.0, "fake_weight": 0.5, "generator_weight": 0.25}
CONDITIONAL = {
    "train": {"batch_size": 12},
    "generator": {"use": "conditional_dcgan", "width": 4},
    "discriminator": {"use": "dcgan", "width": 4},
}


@pytest.fixture
def run(start_run):
    """Function that returns a run with the trick, with these settings and other tricks."""

    def make(change=None, before=(), after=(), **settings):
        tricks = {name: settings if name == TRICK else {} for name in (*before, TRICK, *after)}
        return start_run(CONDITIONAL | {"tricks": tricks} | (change or {}))

    return make


def terms(run, player):
    return {term.name: term for term in run.terms[player]}


def test_loss_by_a_naive_loop():
    logits, classes = torch.randn(5, 3), [2, 0, 0, 1, 2]
    expected = 0.0
    for row, c in zip(logits.tolist(), classes, strict=True):
        expected -= math.log(math.exp(row[c]) / sum(map(math.exp, row))) / 5
    assert class_loss(logits, torch.tensor(classes)).item() == pytest.approx(expected, rel=1e-5)


def test_loss_of_equal_logits_is_that_of_a_guess():
    assert class_loss(torch.zeros(4, 10, dtype=torch.bfloat16), torch.arange(4)).item() == pytest.approx(math.log(10))


def test_loss_is_computed_in_float32():
    assert class_loss(torch.zeros(2, 3, dtype=torch.bfloat16), torch.arange(2)).dtype == torch.float32


def test_class_logits_are_a_linear_function_of_the_features():
    class Network(nn.Module):
        def forward(self, images, labels):
            return DiscriminatorOutput(images.sum((1, 2, 3)), images.flatten(1), {"other": 2 * images})

    D = ClassifyingDiscriminator(Network(), 4, 3)
    images = torch.randn(5, 1, 2, 2)
    output = D(images, None)
    assert torch.equal(output.logits, images.sum((1, 2, 3)))
    assert torch.equal(output.features, images.flatten(1))
    assert torch.equal(output.extra["other"], 2 * images)
    expected = images.flatten(1) @ D.class_head.weight.T + D.class_head.bias
    torch.testing.assert_close(output.extra["class_logits"], expected)


def test_logits_and_features_do_not_change_and_labels_have_no_effect(run):
    run = run()
    D, (images, labels, _) = run.discriminator.eval(), run.draw_real()
    output, plain = D(images, labels), D.network(images, labels)
    assert torch.equal(output.logits, plain.logits)
    assert torch.equal(output.features, plain.features)
    assert torch.equal(output.extra["class_logits"], D(images, None).extra["class_logits"])


def test_discriminator_minimises_the_loss_of_real_and_of_generated_images(run):
    run = run(**WEIGHTS)
    own = terms(run, "discriminator")
    assert list(own) == ["adversarial", "real_class", "fake_class"]
    assert (own["real_class"].weight, own["fake_class"].weight) == (2.0, 0.5)
    step = draw_step(run, "discriminator")
    for name, images in (("real_class", step.real), ("fake_class", step.fake)):
        logits = run.discriminator(images, None).extra["class_logits"]
        expected = -logits.log_softmax(1)[range(12), step.labels].mean()
        torch.testing.assert_close(own[name].function(step), expected)


def test_generator_minimises_the_loss_of_its_images(run):
    run = run(**WEIGHTS)
    own = terms(run, "generator")
    assert list(own) == ["adversarial", "class"]
    assert own["class"].weight == 0.25
    step = draw_step(run, "generator")
    value = own["class"].function(step)
    logits = run.discriminator(step.fake, None).extra["class_logits"]
    torch.testing.assert_close(value, -logits.log_softmax(1)[range(12), step.labels].mean())
    gradient = torch.autograd.grad(value, run.parameters["generator"])
    assert all(g.abs().sum() > 0 for g in gradient[:1])


def test_generated_images_can_be_left_out_of_the_loss_of_the_discriminator(run):
    run = run(fake_weight=0.0)
    assert list(terms(run, "discriminator")) == ["adversarial", "real_class"]
    assert list(terms(run, "generator")) == ["adversarial", "class"]


def test_discriminator_learns_the_classes_and_the_generator_follows(start_run):
    change = {
        "data": {"use": "shapes", "kinds": ["circle", "ring"], "resolution": 8, "count": 64},
        "train": {"batch_size": 32},
        "generator": {"use": "mlp", "hidden": [16]},
        "discriminator": {"use": "mlp", "hidden": [16]},
        "normalization": {"generator": {"use": "conditional_batch_norm"}},
        "optimizer": {player: {"use": "adam", "lr": 0.01} for player in PLAYERS},
    }
    run = start_run(CONDITIONAL | change | {"tricks": {TRICK: {}}})
    train_iterations(run, 80)
    step = draw_step(run, "discriminator")
    for output in (step.real_output, step.fake_output):
        assert (output.extra["class_logits"].argmax(1) == step.labels).double().mean() > 0.9
    assert run.values["generator"]["class"] < 0.5 * math.log(2)


def test_with_packing_packs_are_classified(run):
    run = run(before=["packing"])
    step = draw_step(run, "discriminator")
    logits = run.discriminator(*step.real_inputs).extra["class_logits"]
    assert logits.shape == (6, 2)
    packs, labels = step.real_inputs
    for pack, label in zip(packs, labels, strict=True):
        for image in pack.split(3):
            same = [i for i in range(12) if torch.equal(step.real[i], image)]
            assert all(step.labels[i] == label for i in same)
            assert same
    torch.testing.assert_close(terms(run, "discriminator")["real_class"].function(step), class_loss(logits, labels))
    train_iterations(run, 1)


@pytest.mark.parametrize(
    "name", ["projection", "minibatch_stddev", "experience_replay", "top_k", "relativistic", "unrolled_discriminator"]
)
def test_with_other_tricks(run, name):
    for order in ({"before": [name]}, {"after": [name]}):
        train_iterations(run(**order), 1)


@pytest.mark.parametrize("use", ["dcgan", "igan", "mlp", "maxout", "infogan"])
def test_discriminators_without_labels_are_accepted(run, use):
    train_iterations(run({"discriminator": {"use": use}}), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"data": {"use": "gaussian_ring", "count": 12}, "generator": {"use": "mlp"}},
            "auxiliary_classifier needs labels, and the dataset has none",
        ),
        ({"generator": {"use": "dcgan", "width": 4}}, "the generator dcgan takes no labels, so it cannot generate the"),
        *(
            ({"discriminator": {"use": name}}, f"the discriminator {name} takes the label as an input, so it could")
            for name in ("conditional_dcgan", "cgan", "igan_per_class")
        ),
    ],
)
def test_what_cannot_work_is_refused(run, change, message):
    with pytest.raises(RecipeError, match=message):
        run(change)
