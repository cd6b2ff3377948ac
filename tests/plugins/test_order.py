"""Tricks act in the order of the recipe."""

import pytest
import torch

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.update import draw_step


@pytest.fixture
def run(plain_recipe):
    """Function from tricks, in order, to a run that has started."""

    def make(tricks, base="igan"):
        run = assemble(Recipe.from_dict(merge(plain_recipe(base), {"tricks": tricks})))
        run.load_data()
        run.start()
        return run

    return make


NOISE = {"instance_noise": {"sigma": 0.5}}
CROP = {"crop": {"padding": 3}}


def edges(run):
    """Return the share of the outermost pixels that equal the padding."""
    torch.manual_seed(0)
    images = torch.zeros(64, 3, 8, 8)
    inputs, _ = run.discriminator_inputs(images, None, "real", "discriminator")
    return (inputs[:, :, 0, :] == -1).float().mean().item()


def test_noise_before_the_crop_does_not_change_the_padding(run):
    assert edges(run(NOISE | CROP)) > 0.1
    assert edges(run(CROP | NOISE)) == 0


REPLAY = {"experience_replay": {"capacity": 8}}
SMOOTHING = {"label_smoothing": {"real": [0.7, 1.0], "fake": [0.0, 0.2]}}


@pytest.mark.parametrize("tricks", [REPLAY | SMOOTHING, SMOOTHING | REPLAY], ids=["replay first", "smoothing first"])
def test_replay_and_smoothing_draw_in_the_order_of_the_recipe(run, tricks):
    """Direct calls of the hooks in the same order give the same targets and images."""
    trained, by_hand = run(tricks), run(tricks)
    for _ in range(3):
        steps = []
        for one, hooks in ((trained, [trained.before_step["discriminator"]]), (by_hand, None)):
            torch.manual_seed(5)
            step = draw_step(one, "discriminator")
            if hooks is None:
                for name in tricks:
                    one.plugins[f"tricks.{name}"].before_d_step(step)
            else:
                hooks[0](one, step)
            steps.append(step)
        for name in ("fake", "real_target", "fake_target"):
            assert torch.equal(getattr(steps[0], name), getattr(steps[1], name)), name


def test_order_changes_the_random_numbers(run):
    targets = []
    for tricks in (REPLAY | SMOOTHING, SMOOTHING | REPLAY):
        one = run(tricks)
        for _ in range(2):
            torch.manual_seed(5)
            step = draw_step(one, "discriminator")
            one.before_step["discriminator"](one, step)
        targets.append(step.real_target)
    assert not torch.equal(*targets)
