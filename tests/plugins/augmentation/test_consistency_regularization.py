"""Consistency regularisation: equal logits for an image and its augmented copy."""

import pytest
import torch

from gankit.errors import RecipeError
from gankit.testing import tiny_run
from gankit.training.update import draw_step
from gankit_plugins.augmentation.consistency_regularization import ConsistencyRegularization, consistency

SMALL = {"shift": 1}


def test_the_penalty_by_a_naive_loop():
    one, other = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    pairs = zip(one.flatten().tolist(), other.flatten().tolist(), strict=True)
    assert consistency(one, other).item() == pytest.approx(sum((x - y) ** 2 for x, y in pairs) / 6)


def test_each_copy_is_one_of_the_shifts_and_flips_of_its_image():
    plugin = ConsistencyRegularization(ConsistencyRegularization.Config(shift=1))
    images = torch.rand(400, 2, 5, 5)
    padded = torch.nn.functional.pad(images, [1] * 4, value=-1.0)
    mirrored = torch.nn.functional.pad(images.flip(3), [1] * 4, value=-1.0)
    counts = torch.zeros(2, 3, 3)
    for n, copy in enumerate(plugin.augmented(images)):
        found = [
            (f, down, right)
            for f, source in enumerate((padded, mirrored))
            for down in range(3)
            for right in range(3)
            if torch.equal(copy, source[n, :, down : down + 5, right : right + 5])
        ]
        assert len(found) == 1
        counts[found[0]] += 1
    # 18 kinds of copy, about 22 of each.
    assert counts.min() > 5
    assert counts.max() < 50


def test_a_discriminator_of_the_mean_pixel_has_no_penalty_for_flips_alone(monkeypatch):
    plugin = ConsistencyRegularization(ConsistencyRegularization.Config(shift=1, flip=1))
    monkeypatch.setattr("gankit_plugins.augmentation.consistency_regularization.crop", lambda images, *rest: images)
    images = torch.rand(4, 1, 5, 5)
    torch.testing.assert_close(plugin.augmented(images).mean((1, 2, 3)), images.mean((1, 2, 3)))
    assert torch.equal(plugin.augmented(images), images.flip(3))


@pytest.mark.parametrize(
    ("settings", "names"),
    [({}, ["consistency"]), ({"fake_weight": 2.0}, ["consistency", "fake_consistency"])],
)
def test_the_terms_of_d_compare_logits_before_and_after(settings, names):
    run = tiny_run({ConsistencyRegularization: SMALL | settings})
    assert not [t for t in run.terms["generator"] if "consistency" in t.name]
    terms = [t for t in run.terms["discriminator"] if "consistency" in t.name]
    assert [t.name for t in terms] == names
    step = draw_step(run, "discriminator")
    for term, images in zip(terms, (step.real, step.fake), strict=False):
        torch.manual_seed(3)
        copies = run.plugins["tricks.consistency_regularization"].augmented(images)
        before, after = (run.discriminator(x, step.labels).logits for x in (images, copies))
        torch.manual_seed(3)
        torch.testing.assert_close(term.function(step), (before - after).square().mean())


def test_a_shift_as_large_as_the_image_is_refused():
    with pytest.raises(RecipeError, match="shift = 8 can shift an image of 8 pixels out of view; set a smaller one"):
        tiny_run({ConsistencyRegularization: {"shift": 8}})
