"""Trick: label weights."""

from types import SimpleNamespace

import pytest
import torch

from gankit_plugins.loss.igan_label import IganLabel
from gankit_plugins.loss.non_saturating import NonSaturating
from gankit_plugins.trick.label_weights import LabelWeights


class Both:
    """Tricks that act one after the other on a step."""

    def __init__(self, *tricks):
        self.tricks = tricks

    def before_d_step(self, step):
        for trick in self.tricks:
            trick.before_d_step(step)


class Flip:
    def before_d_step(self, step):
        step.real_target, step.fake_target = 0.0, 1.0


def weights(**settings):
    return LabelWeights(LabelWeights.Config(**settings))


def new_step(count=6):
    images = torch.zeros(count, 1, 2, 2)
    return SimpleNamespace(real=images, num_inputs=len(images), fake=images, real_weight=1.0, fake_weight=1.0)


def recipe(loss):
    return SimpleNamespace(plugin_class=lambda key: {"loss": loss}[key], use_of=lambda key: {"loss": loss.name}[key])


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.9), (1.0, 1.0), (2.0, 0.5)])
def test_best_discriminator_is_equation_9(best_discriminator, p_data, p_g, alpha, beta):
    outputs = best_discriminator(weights(alpha=alpha, beta=beta), IganLabel(IganLabel.Config()))
    torch.testing.assert_close(outputs, alpha * p_data / (alpha * p_data + beta * p_g), rtol=0, atol=1e-6)


def test_best_discriminator_with_flipped_labels_is_its_complement(best_discriminator, p_data, p_g):
    trick = Both(weights(alpha=0.1, beta=0.9), Flip())
    outputs = best_discriminator(trick, IganLabel(IganLabel.Config()))
    torch.testing.assert_close(outputs, 0.9 * p_g / (0.1 * p_data + 0.9 * p_g), rtol=0, atol=1e-6)


def test_printed_ranges_are_the_default_and_act_by_their_means(best_discriminator, p_data, p_g):
    torch.manual_seed(0)
    outputs = best_discriminator(weights(), IganLabel(IganLabel.Config()), repeat=4000)
    expected = 0.05 * p_data / (0.05 * p_data + 0.95 * p_g)
    torch.testing.assert_close(outputs, expected, rtol=0.05, atol=0)


@pytest.mark.parametrize("hook", ["before_d_step", "before_g_step"])
def test_each_image_and_step_has_different_weights(hook):
    torch.manual_seed(0)
    step, trick = new_step(), weights()
    getattr(trick, hook)(step)
    first = (step.real_weight, step.fake_weight)
    getattr(trick, hook)(step)
    for low, before, after in zip((0.0, 0.9), first, (step.real_weight, step.fake_weight), strict=True):
        assert before.shape == after.shape == (6,)
        assert len(before.unique()) == 6
        assert not torch.equal(before, after)
        assert ((before >= low) & (before <= low + 0.1)).all()


def test_fixed_weights():
    step = new_step()
    weights(alpha=0.5, beta=2).before_d_step(step)
    assert (step.real_weight, step.fake_weight) == (0.5, 2.0)


def test_warns_of_a_loss_without_weights():
    (warnings,) = weights().check_recipe(recipe(NonSaturating))
    assert "'non_saturating' has no weights" in warnings
    assert list(weights().check_recipe(recipe(IganLabel))) == []
