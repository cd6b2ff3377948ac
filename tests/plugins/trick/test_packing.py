"""Trick: packing."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gankit import ClassCondition, Plugin, Spec, Step, hookimpl
from gankit_plugins.discriminator.igan import IganDiscriminatorNetwork
from gankit_plugins.loss.non_saturating import NonSaturating
from gankit_plugins.penalty.gradient_penalty import GradientPenalty
from gankit_plugins.trick.instance_noise import InstanceNoise
from gankit_plugins.trick.label_smoothing import LabelSmoothing
from gankit_plugins.trick.packing import Packing, packing_order, packs


def plugin(**settings):
    return Packing(Packing.Config(**settings))


def run(classes=0, **changes):
    return SimpleNamespace(spec=Spec(condition=ClassCondition.of(tuple("0123456789"[:classes]))), **changes)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_packs_are_concatenated_along_the_channels(count, size, channels, side):
    images = torch.randn(count * size, channels, side, side)
    packed = packs(images, size)
    assert packed.shape == (count, size * channels, side, side)
    for i in range(count):
        for j in range(size):
            for c in range(channels):
                assert torch.equal(packed[i, j * channels + c], images[i * size + j, c])


def test_memory_format_does_not_matter():
    images = torch.randn(4, 3, 5, 5)
    assert torch.equal(packs(images.contiguous(memory_format=torch.channels_last), 2), packs(images, 2))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_packs_are_of_one_class_against_a_naive_loop(classes, each, size, random):
    """Images of a class keep their order, and the classes of the packs alternate."""
    listed = [k for k in range(classes) for _ in range(each * size)]
    random.shuffle(listed)
    waiting = {k: [i for i, label in enumerate(listed) if label == k] for k in range(classes)}
    expected = [waiting[k].pop(0) for _ in range(each) for k in range(classes) for _ in range(size)]
    assert packing_order(torch.tensor(listed), classes, size).tolist() == expected


def test_packs_have_the_labels_of_their_images():
    labels = torch.tensor([0, 1, 2] * 4)
    images = torch.arange(12.0).reshape(12, 1, 1, 1)
    inputs, of = plugin().discriminator_inputs(images, labels, run(classes=3))
    assert of.tolist() == [0, 1, 2, 0, 1, 2]
    assert inputs[:, :, 0, 0].tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    assert labels[inputs[:, 0, 0, 0].long()].tolist() == of.tolist()


def test_without_classes_neighbours_are_packed():
    inputs, of = plugin(size=3).discriminator_inputs(torch.arange(6.0).reshape(6, 1, 1, 1), None, run())
    assert of is None
    assert inputs[:, :, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def adjusted(batch_size, classes, accumulate=1, **settings):
    trick, spec = (
        plugin(**settings),
        Spec(shape=(1, 32, 32), condition=ClassCondition.of(tuple("0123456789"[:classes]))),
    )
    list(trick.check_recipe(recipe(batch_size, accumulate)))
    trick.adjust_spec(spec)
    return spec


def recipe(batch_size=8, accumulate=1, tricks=(Packing,)):
    components = {f"tricks.{t.name}": SimpleNamespace(plugin_class=t) for t in tricks}
    return SimpleNamespace(train=SimpleNamespace(batch_size=batch_size, accumulate=accumulate), components=components)


def test_spec_has_the_size_of_a_pack():
    spec = adjusted(8, classes=0, size=4)
    assert (spec.pack, spec.channels, spec.class_balanced) == (4, 1, False)
    assert adjusted(8, classes=2).class_balanced


@pytest.mark.parametrize(
    ("batch_size", "classes", "accumulate", "multiple"),
    [(7, 0, 1, "a multiple of 2, for example 8"),
     (6, 2, 1, "a multiple of 4, for example 8"),
     (6, 0, 2, "a multiple of 4, for example 8"),
     (16, 3, 8, "a multiple of 48, for example 48"), (1, 0, 1, "a multiple of 2, for example 2")],
)  # fmt: skip
def test_batch_size_that_is_not_divisible_is_refused(batch_size, classes, accumulate, multiple):
    with pytest.raises(
        ValueError, match=f"train.batch_size = {batch_size} cannot be split into packs of 2.*{multiple}"
    ):
        adjusted(batch_size, classes, accumulate)


@pytest.mark.parametrize(("batch_size", "classes", "accumulate"), [(2, 0, 1), (4, 2, 1), (8, 2, 2), (6, 3, 1)])
def test_divisible_batch_size_is_accepted(batch_size, classes, accumulate):
    assert adjusted(batch_size, classes, accumulate).pack == 2


def test_two_packings_are_refused():
    with pytest.raises(ValueError, match="packed twice"):
        plugin().adjust_spec(Spec(pack=2))


def test_later_input_tricks_cause_a_warning():
    class Jitter(Plugin):
        name = "jitter"

        @hookimpl
        def discriminator_inputs(self, images, condition):
            return images, condition

    (warnings,) = plugin().check_recipe(recipe(tricks=(Packing, LabelSmoothing, Jitter, InstanceNoise)))
    assert "packing comes before jitter, whose" in warnings
    assert "put packing last" in warnings
    assert list(plugin().check_recipe(recipe(tricks=(Jitter, Packing, LabelSmoothing, InstanceNoise)))) == []


class LinearDiscriminator(nn.Module):
    """Linear D with separate weights for each class."""

    def __init__(self, classes, size, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, size * channels, 3, 3, dtype=torch.float64))

    def forward(self, images, labels):
        return (images * self.weight[labels]).flatten(1).sum(1), images.flatten(1)


def new_step(batch=12, classes=3, size=2, channels=2, discriminator=None):
    """Return a step in double precision with packs as inputs of D."""
    torch.manual_seed(0)
    trick = plugin(size=size)
    run = SimpleNamespace(
        spec=Spec(shape=(channels, 32, 32), condition=ClassCondition.of(tuple("0123456789"[:classes])), pack=size)
    )
    run.discriminator = discriminator or LinearDiscriminator(classes, size, channels)
    run.discriminator_inputs = lambda images, labels, source, step: trick.discriminator_inputs(images, labels, run)
    real, fake = torch.randn(2, batch, channels, 3, 3, dtype=torch.float64)
    return Step(run, "discriminator", real, torch.arange(batch) % classes, torch.zeros(batch, 1), fake)


def test_each_pack_has_a_target_of_its_own():
    step = new_step()
    LabelSmoothing(LabelSmoothing.Config(real=[0.8, 1.0], fake=[0.0, 0.2])).before_d_step(step)
    assert step.real_target.shape == step.fake_target.shape == (6,) == step.real_output.logits.shape
    (term,) = NonSaturating(NonSaturating.Config()).loss_terms("discriminator")

    def entropy(logit, target):
        p = 1 / (1 + math.exp(-logit))
        return -target * math.log(p) - (1 - target) * math.log(1 - p)

    expected = 0.0
    for logits, targets in ((step.real_output.logits, step.real_target), (step.fake_output.logits, step.fake_target)):
        expected += sum(entropy(x, t) for x, t in zip(logits.tolist(), targets.tolist(), strict=True)) / 6
    assert term.function(step).item() == pytest.approx(expected)


def test_pack_has_a_gradient_penalty_of_its_own():
    step = new_step()
    (term,) = GradientPenalty(GradientPenalty.Config()).loss_terms("discriminator")
    value = term.function(step)
    norms = step.run.discriminator.weight.detach().flatten(1).norm(dim=1)
    assert value.item() == pytest.approx(((norms - 1) ** 2).mean().item())
    value.backward()
    expected = (
        2 * (norms - 1)[:, None, None, None] * step.run.discriminator.weight.detach() / norms[:, None, None, None]
    )
    torch.testing.assert_close(step.run.discriminator.weight.grad, expected / 3)


def test_discriminators_by_class_get_balanced_packs():
    torch.manual_seed(0)
    discriminator = IganDiscriminatorNetwork(Spec(shape=(4, 3, 3)), width=2, classes=3).double()
    step = new_step(discriminator=discriminator)
    logits = step.real_output.logits
    images, labels = step.real_inputs
    assert torch.bincount(labels).tolist() == [2, 2, 2]
    discriminator.eval()
    for i in range(6):
        torch.testing.assert_close(discriminator(images[i : i + 1], labels[i : i + 1]).logits[0], logits[i])
