"""ADA's augmentation with a probability that is set in advance."""

import torch

from gankit.testing import train_iterations
from gankit.training.update import draw_step
from gankit_plugins.augmentation.ada import augment


def test_images_are_adas_with_the_probability_of_the_schedule(start_run):
    """Let p be 0, 0.4 and 0.8 in the first three iterations, and 0.8 later."""
    p = {"schedule": "linear", "start": 0.0, "end": 0.8, "until": 2}
    run = start_run({"tricks": {"ada_schedule": {"p": p}}})
    for expected in (0.0, 0.4, 0.8, 0.8):
        step = draw_step(run, "discriminator")
        torch.manual_seed(3)
        augmented = augment(step.real, torch.tensor(expected))
        torch.manual_seed(3)
        assert torch.equal(step.real_inputs[0], augmented)
        assert torch.equal(augmented, step.real) is (expected == 0)
        train_iterations(run)
