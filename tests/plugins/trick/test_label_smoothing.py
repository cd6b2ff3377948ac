"""Trick: label smoothing."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from gankit_plugins.loss.igan_label import IganLabel
from gankit_plugins.loss.non_saturating import NonSaturating
from gankit_plugins.trick.label_smoothing import LabelSmoothing


def smoothing(**settings):
    return LabelSmoothing(LabelSmoothing.Config(**settings))


def new_step(count=6):
    images = torch.zeros(count, 1, 2, 2)
    return SimpleNamespace(
        real=images,
        num_inputs=len(images),
        fake=images,
        labels=None,
        real_target=1.0,
        fake_target=0.0,
        generator_target=1.0,
    )


def recipe(loss):
    return SimpleNamespace(plugin_class=lambda key: {"loss": loss}[key], use_of=lambda key: {"loss": loss.name}[key])


def test_default_is_one_sided():
    step, trick = new_step(), smoothing()
    trick.before_d_step(step)
    trick.before_g_step(step)
    assert (step.real_target, step.fake_target, step.generator_target) == (0.9, 0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.0), (0.8, 0.3), (1.0, 0.0), (0.1, 0.95)])
@pytest.mark.parametrize("loss", [NonSaturating, IganLabel])
def test_best_discriminator_is_salimans(best_discriminator, p_data, p_g, loss, a, b):
    outputs = best_discriminator(smoothing(real=a, fake=b), loss(loss.Config()))
    torch.testing.assert_close(outputs, (a * p_data + b * p_g) / (p_data + p_g), rtol=0, atol=1e-6)


def test_best_discriminator_with_ranges_has_their_means(best_discriminator, p_data, p_g):
    torch.manual_seed(0)
    trick = smoothing(real=[0.0, 0.1], fake=[0.9, 1.0])
    outputs = best_discriminator(trick, NonSaturating(NonSaturating.Config()), repeat=1000)
    expected = (0.05 * p_data + 0.95 * p_g) / (p_data + p_g)
    # At most 0.029 / sqrt(1000) is the standard deviation of the mean of a symbol's targets.
    torch.testing.assert_close(outputs, expected, rtol=0, atol=5 * 0.029 / 1000**0.5)


def test_each_image_and_step_has_a_target_of_its_own():
    torch.manual_seed(0)
    step, trick = new_step(), smoothing(real=[0.8, 1.0], fake=[0.0, 0.2])
    trick.before_d_step(step)
    first = (step.real_target, step.fake_target)
    trick.before_d_step(step)
    for low, before, after in zip((0.8, 0.0), first, (step.real_target, step.fake_target), strict=True):
        assert before.shape == after.shape == (6,)
        assert len(before.unique()) == 6
        assert not torch.equal(before, after)
        assert ((before >= low) & (before <= low + 0.2)).all()


@pytest.mark.parametrize(
    ("real", "fake", "wish"),
    [
        (0.9, 0.0, 1.0),
        ([0.7, 1.0], [0.0, 0.3], 1.0),
        (0.0, 1.0, 0.0),
        ([0.0, 0.1], [0.9, 1.0], 0.0),
        (0.2, [0.3, 0.4], 0.0),
    ],
)
def test_generator_aims_at_the_hard_label_of_the_real_side(real, fake, wish):
    step = new_step()
    smoothing(real=real, fake=fake).before_g_step(step)
    assert step.generator_target == wish


@pytest.mark.parametrize(
    ("real", "fake"), [(0.5, 0.5), ([0.4, 0.8], 0.5), ([0.5, 1.0], [0.0, 0.5]), (0.9, [0.0, 1.0]), ([0, 1], [0, 1])]
)
def test_overlapping_targets_are_refused(real, fake):
    with pytest.raises(ValidationError, match="overlap; keep one above"):
        LabelSmoothing.Config(real=real, fake=fake)


def test_warns_of_a_loss_without_targets():
    class Critic:
        name = "wasserstein"
        uses_targets = False

    (warnings,) = smoothing().check_recipe(recipe(Critic))
    assert "'wasserstein' has no targets" in warnings
    assert list(smoothing().check_recipe(recipe(NonSaturating))) == []
