"""Mismatched pairs: the loss of Reed 2016, the choice of the wrong conditions, and refusals."""

import pytest
import torch
import torch.nn.functional as F

from gankit import InputError, Spec
from gankit.training.update import draw_step
from gankit_plugins.trick.mismatched_pairs import MismatchedPairs, mismatched

STACKGAN = {
    "data": {"use": "captioned_shapes", "resolution": 8, "count": 24},
    "latent": {"use": "normal", "size": 5},
    "generator": {"use": "stackgan", "width": 1, "text_size": 4, "condition_size": 3},
    "discriminator": {"use": "stackgan", "width": 4, "text_size": 4, "compressed_size": 3},
    "tricks": {"mismatched_pairs": {}},
}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([1, 2, 3], [2, 3, 1]),
        ([1, 1, 2, 1], [2, 2, 1, 2]),
        ([1, 1], [1, 1]),
        ([[1, 0], [1, 0], [1, 2]], [[1, 2], [1, 2], [1, 0]]),
        ([[[1.0]], [[2.0]]], [[[2.0]], [[1.0]]]),
    ],
)
def test_each_row_gets_the_next_different_condition(rows, expected):
    assert mismatched(torch.tensor(rows)).tolist() == expected


def test_the_loss_is_that_of_reed(start_run):
    run = start_run(STACKGAN)
    step = draw_step(run, "discriminator")
    value = sum(term.weight * term.function(step) for term in run.terms["discriminator"])
    real = run.discriminator(step.real, step.condition).logits
    fake = run.discriminator(step.fake, step.condition).logits
    wrong = torch.stack(
        [next(b for b in step.condition.roll(-k, 0) if (a != b).any()) for k, a in enumerate(step.condition)]
    )
    pairs = run.discriminator(step.real, wrong).logits
    s_r, s_w, s_f = (F.logsigmoid(real).mean(), F.logsigmoid(-pairs).mean(), F.logsigmoid(-fake).mean())
    torch.testing.assert_close(value, -(s_r + (s_w + s_f) / 2))  # algorithm 1, line 11
    assert [term.name for term in run.terms["discriminator"]] == ["adversarial", "mismatched"]
    assert "mismatched" not in [term.name for term in run.terms["generator"]]


def test_data_and_networks_without_a_condition_are_refused(start_run):
    with pytest.raises(InputError, match="discriminator igan ignores the condition, so it cannot detect wrong pairs"):
        start_run({"tricks": {"mismatched_pairs": {}}})
    with pytest.raises(InputError, match="the data have no condition, so no pair can be wrong"):
        MismatchedPairs(MismatchedPairs.Config()).adjust_spec(Spec())


def test_a_batch_of_one_image_is_refused(start_run):
    with pytest.raises(InputError, match=r"train.batch_size = 1: mismatched_pairs takes .* set train.batch_size"):
        start_run(STACKGAN | {"train": {"batch_size": 1}})


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average"])
def test_a_relativistic_trick_comes_first(start_run, name):
    with pytest.raises(InputError, match=f"{name} comes later"):
        start_run(STACKGAN | {"tricks": {"mismatched_pairs": {}, name: {}}})
    run = start_run(STACKGAN | {"tricks": {name: {}, "mismatched_pairs": {}}})
    assert len(run.terms["generator"]) == 2  # adversarial and condition_divergence
