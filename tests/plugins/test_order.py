"""The recipe's order is the order in which tricks act, where it makes a difference."""

import pytest
import torch

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.update import draw_step


@pytest.fixture
def run(plain_recipe):
    """A function from tricks, in order, to a game ready to be played."""

    def make(tricks, base="igan"):
        made = assemble(Recipe.from_dict(merge(plain_recipe(base), {"tricks": tricks})))
        made.load_data()
        made.start()
        return made

    return make


NOISE = {"instance_noise": {"sigma": 0.5}}
CROP = {"crop": {"padding": 3}}


def edges(run):
    """How many of an image's outermost pixels are exactly what lies beyond the image."""
    torch.manual_seed(0)
    images = torch.zeros(64, 3, 8, 8)
    shown, _ = run.discriminator_inputs(images, None, "real", "discriminator")
    return (shown[:, :, 0, :] == -1).float().mean().item()


def test_noise_before_the_crop_leaves_the_padding_clean_and_after_it_does_not(run):
    assert edges(run(NOISE | CROP)) > 0.1
    assert edges(run(CROP | NOISE)) == 0


REPLAY = {"experience_replay": {"capacity": 8}}
SMOOTHING = {"label_smoothing": {"real": [0.7, 1.0], "fake": [0.0, 0.2]}}


@pytest.mark.parametrize("tricks", [REPLAY | SMOOTHING, SMOOTHING | REPLAY], ids=["replay first", "smoothing first"])
def test_replay_and_smoothing_draw_in_the_recipes_order(run, tricks):
    """Whoever stands first draws first; each by hand, in that order, gives the same targets and the same images."""
    played, by_hand = run(tricks), run(tricks)
    for _ in range(3):
        steps = []
        for one, hooks in ((played, [played.before_step["discriminator"]]), (by_hand, None)):
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


def test_the_two_orders_draw_differently(run):
    targets = []
    for tricks in (REPLAY | SMOOTHING, SMOOTHING | REPLAY):
        one = run(tricks)
        for _ in range(2):
            torch.manual_seed(5)
            step = draw_step(one, "discriminator")
            one.before_step["discriminator"](one, step)
        targets.append(step.real_target)
    assert not torch.equal(*targets)
