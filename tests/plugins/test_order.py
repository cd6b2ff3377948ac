"""Tricks act in the order of the recipe."""

from types import SimpleNamespace

import torch

from gankit.training.update import draw_step

NOISE = {"instance_noise": {"sigma": 0.5}}
CROP = {"crop": {"padding": 3}}


def edges(run):
    """Return the share of the outermost pixels that equal the padding."""
    torch.manual_seed(0)
    images = torch.zeros(64, 3, 8, 8)
    inputs, _ = run.discriminator_inputs(images, None, "real", SimpleNamespace(player="discriminator"))
    return (inputs[:, :, 0, :] == -1).float().mean().item()


def test_noise_before_the_crop_does_not_change_the_padding(start_run):
    assert edges(start_run({"tricks": NOISE | CROP})) > 0.1
    assert edges(start_run({"tricks": CROP | NOISE})) == 0


REPLAY = {"experience_replay": {"capacity": 8}}
SMOOTHING = {"label_smoothing": {"real": [0.7, 1.0], "fake": [0.0, 0.2]}}


def d_step(run, tricks=None):
    """Return a step after the hooks of the run, or after direct calls for these tricks."""
    torch.manual_seed(5)
    step = draw_step(run, "discriminator")
    if tricks is None:
        run.before_step["discriminator"](run, step)
    for name in tricks or ():
        run.plugins[f"tricks.{name}"].before_d_step(step)
    return step


def test_replay_and_smoothing_draw_random_numbers_in_the_order_of_the_recipe(start_run):
    targets = []
    for tricks in (REPLAY | SMOOTHING, SMOOTHING | REPLAY):
        trained, direct = start_run({"tricks": tricks}), start_run({"tricks": tricks})
        for _ in range(3):
            step, expected = d_step(trained), d_step(direct, tricks)
            for name in ("fake", "real_target", "fake_target"):
                assert torch.equal(getattr(step, name), getattr(expected, name)), name
        targets.append(step.real_target)
    assert not torch.equal(*targets)
