"""Top-k training: G learns from the best images of a batch."""

import pytest
import torch

from gankit.errors import RecipeError
from gankit.testing import tiny_run
from gankit.training.update import draw_step
from gankit_plugins.trick.top_k import TopK, kept_share, top_k


@pytest.mark.parametrize(
    ("iteration", "share"), [(0, 1.0), (9, 1.0), (10, 0.8), (29, 0.64), (30, 0.512), (40, 0.5), (10**6, 0.5)]
)
def test_the_share_shrinks_in_intervals(iteration, share):
    assert kept_share(iteration, 0.8, 10, 0.5) == pytest.approx(share)


@pytest.mark.parametrize(("share", "count"), [(1.0, 8), (0.6, 4), (0.5, 4), (0.01, 1)])
def test_the_images_with_the_largest_logits_are_kept(share, count):
    step = draw_step(tiny_run({}, {"data": {"classes": 2}}), "generator")
    logits = step.fake_output.logits.tolist()
    best = sorted(range(8), key=lambda i: -logits[i])[:count]
    kept = top_k(step, share)
    assert sorted(kept.fake_output.logits.tolist()) == sorted(logits[i] for i in best)
    assert {tuple(z) for z in kept.z.tolist()} == {tuple(step.z[i].tolist()) for i in best}


def test_the_mean_over_the_patches_of_an_image_counts():
    step = draw_step(tiny_run(), "generator")
    patches = torch.randn(8, 1, 3, 3)
    step = step.with_outputs(step.real_output, step.fake_output._replace(logits=patches))
    expected = patches.mean((1, 2, 3)).topk(2).indices
    assert torch.equal(top_k(step, 0.25).fake, step.fake[expected])


def test_only_the_kept_images_have_gradients():
    run = tiny_run({TopK: {"final": 0.25, "decay": 0.25, "every": 1}})
    run.iteration = 1
    step = draw_step(run, "generator")
    logits = step.fake_output.logits.tolist()
    step.fake.retain_grad()
    (term,) = run.terms["generator"]
    term.function(step).backward()
    kept = {i for i, gradient in enumerate(step.fake.grad) if gradient.any()}
    assert kept == set(sorted(range(8), key=lambda i: -logits[i])[:2])


def test_the_terms_of_d_do_not_change():
    run, plain = tiny_run({TopK: {"decay": 0.1, "every": 1}}), tiny_run()
    run.iteration = plain.iteration = 5
    values = []
    for one in (run, plain):
        torch.manual_seed(1)
        step = draw_step(one, "discriminator")
        values.append([term.function(step).item() for term in one.terms["discriminator"]])
    assert values[0] == values[1]


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average", "feature_matching"])
def test_a_trick_that_replaces_the_loss_must_come_first(name):
    tiny_run({name: {}, TopK: {}})
    with pytest.raises(RecipeError, match=f"{name} comes after top_k and replaces G's loss; put top_k after it"):
        tiny_run({TopK: {}, name: {}})


def test_packing_is_refused():
    with pytest.raises(RecipeError, match="with packing, one input of D has several images"):
        tiny_run({"packing": {"size": 2}, TopK: {}})
