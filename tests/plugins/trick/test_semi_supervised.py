"""Trick: semi-supervised discriminator. Data: few labels. Metric: accuracy of the classifier."""

import math

import pytest
import torch
from torch import nn

from gankit import Comparison, DiscriminatorOutput, InputError, Recipe, load_dataset
from gankit.errors import RecipeError
from gankit.plugin.comparison import Samples
from gankit.testing import train_iterations
from gankit.training.assembly import assemble
from gankit.training.update import draw_step
from gankit_plugins.data.few_labels import hide_labels
from gankit_plugins.loss.non_saturating import NonSaturating
from gankit_plugins.metric.classifier_accuracy import ClassifierAccuracy, class_logits
from gankit_plugins.trick.semi_supervised import real_logit

SHAPES = {"use": "shapes", "count": 40, "resolution": 8, "kinds": ["circle", "ring"]}
FEW = {"use": "few_labels", "labels": 4, "images": SHAPES}
NETWORKS = {player: {"use": "mlp", "hidden": [8]} for player in ("generator", "discriminator")}
RECIPE = {"data": FEW, **NETWORKS, "tricks": {"semi_supervised": {}}, "train": {"batch_size": 6}}


@pytest.fixture
def run(start_run):
    """Function that returns a run with the trick and changes of the recipe."""
    return lambda **change: start_run(RECIPE | change)


# The equations of Salimans 2016, section 5


def test_k_logits_equal_a_softmax_over_k_plus_1_classes_whose_last_logit_is_0():
    logits = 3 * torch.randn(7, 10, dtype=torch.float64)
    p = torch.cat([logits, torch.zeros(7, 1, dtype=torch.float64)], 1).softmax(1)
    real = torch.sigmoid(real_logit(logits))
    torch.testing.assert_close(real, 1 - p[:, 10])
    torch.testing.assert_close(logits.softmax(1), p[:, :10] / real[:, None])


def test_a_constant_added_to_all_k_plus_1_logits_changes_nothing():
    """A softmax over K + 1 free logits has one parameter too many, so the last logit can be 0."""
    free = torch.randn(5, 4, dtype=torch.float64)
    fixed = real_logit((free - free[:, 3:])[:, :3])
    torch.testing.assert_close(torch.sigmoid(fixed), 1 - free.softmax(1)[:, 3])


def test_unsupervised_loss_in_the_form_with_softplus():
    """L = -E[lse(l(x))] + E[softplus(lse(l(x)))] + E[softplus(lse(l(G(z))))]."""
    real, fake = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    lse = [torch.tensor([math.log(sum(map(math.exp, row))) for row in one.tolist()]) for one in (real, fake)]
    softplus = [(1 + one.exp()).log().mean() for one in lse]
    expected = -lse[0].mean() + softplus[0] + softplus[1]
    loss = NonSaturating.discriminator_loss(real_logit(real), real_logit(fake), 1.0, 0.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_large_logits_do_not_overflow():
    assert real_logit(torch.tensor([[1e4, 0.0], [-1e4, -1e4]], dtype=torch.bfloat16)).isfinite().all()


def test_one_class_is_the_ordinary_discriminator():
    logits = torch.randn(4, 1)
    torch.testing.assert_close(real_logit(logits), logits[:, 0])


# A run


def test_logits_are_those_of_the_classes(run):
    run = run()
    D, (images, condition, fields) = run.discriminator.eval(), run.draw_real()
    output = D(images, condition)
    assert condition is None
    assert fields["label"].shape == (6,)
    assert output.extra["class_logits"].shape == (6, 2)
    torch.testing.assert_close(output.logits, output.extra["class_logits"].exp().sum(1).log())
    assert torch.equal(output.features, D.network(images, None).features)


def test_labelled_images_are_a_batch_of_their_own(run):
    run = run()
    (term,) = (t for t in run.terms["discriminator"] if t.name == "supervised")
    assert [t.name for t in run.terms["generator"]] == ["adversarial"]
    rows = run.dataset.read()
    labels = rows.fields["label"]
    images = rows.images[labels >= 0].float() / 127.5 - 1
    step = draw_step(run, "discriminator")
    torch.manual_seed(3)
    value = term.function(step)
    torch.manual_seed(3)
    chosen = torch.randint(4, (6,))
    logits = run.discriminator(images[chosen], None).extra["class_logits"]
    expected = -logits.log_softmax(1)[range(6), labels[labels >= 0][chosen]].mean()
    torch.testing.assert_close(value, expected)


def test_inputs_of_labelled_images_are_augmented_like_real_ones(run):
    run = run(tricks={"semi_supervised": {}, "instance_noise": {"sigma": 100.0}})
    seen = []
    run.discriminator.network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    (term,) = (t for t in run.terms["discriminator"] if t.name == "supervised")
    term.function(draw_step(run, "discriminator"))
    assert seen[0].std() > 50


def test_discriminator_learns_the_classes_from_four_labels(start_run):
    optimizer = {player: {"use": "adam", "lr": 0.01} for player in NETWORKS}
    run = start_run(RECIPE | {"optimizer": optimizer})
    train_iterations(run, 40)
    rows = run.dataset.read()
    known = rows.fields["label"] >= 0
    with torch.no_grad():
        output = run.discriminator(rows.images[known].float() / 127.5 - 1, None)
    assert torch.equal(output.extra["class_logits"].argmax(1), rows.fields["label"][known])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": SHAPES}, "no images with and without a label; use the data few_labels"),
        ({"tricks": {"semi_supervised": {}, "packing": {}}}, "packing joins several"),
        ({"data": {**FEW, "images": {"use": "captioned_shapes"}}}, "no classes, so there are no labels"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change, message):
    with pytest.raises(RecipeError, match=message):
        assemble(Recipe.from_dict({"train": {"iterations": 1}} | RECIPE | change))


def test_a_loss_without_probabilities_is_a_warning(assembled):
    warnings = assembled(RECIPE | {"loss": {"use": "hinge"}}).warnings
    assert any("the loss hinge does not use" in one for one in warnings)
    assert not any("does not use" in one for one in assembled(RECIPE).warnings)


# Data


def few(count, **settings):
    return load_dataset({**FEW, "labels": count, **settings}, "recipe")


def test_each_class_keeps_the_same_number_of_labels():
    whole, rows = load_dataset(SHAPES, "recipe").read(), few(6).read()
    kept = rows.fields["label"]
    assert rows.condition is None
    assert torch.equal(rows.images, whole.images)
    assert kept[kept >= 0].bincount().tolist() == [3, 3]
    assert (kept == -1).sum() == 34
    assert torch.equal(kept[kept >= 0], whole.condition[kept >= 0])
    assert few(6).encoding == {"classes": ["circle", "ring"]}


def test_the_seed_chooses_the_labelled_images():
    labels = [few(6, seed=seed).read().fields["label"] for seed in (0, 0, 1)]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_all_labels_can_be_kept():
    assert torch.equal(hide_labels(torch.tensor([1, 0, 0, 1]), 2, 4, torch.Generator()), torch.tensor([1, 0, 0, 1]))


@pytest.mark.parametrize(("count", "message"), [(3, "multiple of 2"), (6, "class 1 has 1; give at most 2")])
def test_a_number_of_labels_that_does_not_fit_is_refused(count, message):
    with pytest.raises(InputError, match=message):
        hide_labels(torch.tensor([0, 0, 0, 1]), 2, count, torch.Generator())


# Metric


class Threshold(nn.Module):
    """Discriminator whose class is 1 for bright images, with or without class logits."""

    def __init__(self, name="class_logits"):
        super().__init__()
        self.weight, self.name = nn.Parameter(torch.ones(())), name

    def forward(self, images, labels):
        brightness = images.mean((1, 2, 3)) * self.weight
        return DiscriminatorOutput(
            brightness, images.flatten(1), {self.name: torch.stack([-brightness, brightness], 1)}
        )


def accuracy(discriminator, **change):
    metric = ClassifierAccuracy(ClassifierAccuracy.Config(data=SHAPES | change))
    images = Samples(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    networks = {} if discriminator is None else {"discriminator": discriminator}
    return metric.compute_metrics(Comparison(images, images, None, {}, networks=networks))


def test_accuracy_equals_a_count_by_hand():
    rows = load_dataset(SHAPES, "recipe").read()
    right = sum((image.float().mean() / 127.5 > 1) == bool(label) for image, label in zip(*rows[:2], strict=True))
    assert accuracy(Threshold()) == {"classifier_accuracy": pytest.approx(int(right) / 40)}


def test_metric_does_not_apply_without_a_classifier():
    assert accuracy(None) is None
    assert accuracy(Threshold("other")) is None
    assert class_logits(Threshold("other"), torch.zeros(2, 3, 8, 8), None) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 16}, r"the test images are \(3, 16, 16\), and the training images \(3, 8, 8\)"),
        ({"kinds": ["circle", "ring", "star"]}, "the test images have 3 classes, and the discriminator 2"),
    ],
)
def test_test_images_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        accuracy(Threshold(), **change)


def test_test_images_without_classes_are_refused():
    images = Samples(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    metric = ClassifierAccuracy(ClassifierAccuracy.Config(data={"use": "captioned_shapes", "count": 2}))
    with pytest.raises(InputError, match="have no classes"):
        metric.compute_metrics(Comparison(images, images, None, {}, networks={"discriminator": Threshold()}))


def test_a_run_measures_its_discriminator(run):
    metric = {"use": "classifier_accuracy", "data": SHAPES}
    run = run(metrics={"classifier_accuracy": metric}, extractor={"use": "pixels"}, evaluation={"count": 8})
    from gankit.evaluation.evaluator import Evaluator

    before = {name: value.clone() for name, value in run.discriminator.state_dict().items()}
    row = Evaluator(run).row()
    assert run.discriminator.training
    assert all(torch.equal(value, before[name]) for name, value in run.discriminator.state_dict().items())
    rows = load_dataset(SHAPES, "recipe").read()
    logits = run.discriminator(rows.images.float() / 127.5 - 1, None).extra["class_logits"]
    expected = (logits.argmax(1) == rows.condition).double().mean().item()
    assert row["metrics"]["classifier_accuracy"] == pytest.approx(expected)
