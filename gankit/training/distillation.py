"""Knowledge distillation: a small generator is trained to give the samples of a trained one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from rich.progress import MofNCompleteColumn
from torch import Tensor, nn

from gankit.errors import GankitError
from gankit.plugin.step import Step
from gankit.runtime.progress_bar import progress_bar
from gankit.runtime.rng import derived_seed, fork_rng
from gankit.sampling.sampler import Sampler
from gankit.training.memory_check import unit_of
from gankit.training.run import TrainingRun

LEARNING_RATE = 1e-3
"""Learning rate of Adam at the start. It falls to 0 along a half cosine."""

POOL = 1024
"""Number of conditions from which the conditions of the batches are drawn."""

SHOWN_EVERY = 10
"""Number of steps between two checks of the loss, which are also shown."""

Inputs = tuple[Tensor, Tensor | None]
"""z (B, latent_size) and the condition (B, ...) of a batch, on the sampler's device."""


class Batches:
    """Random z and conditions, drawn as for samples of a generator.

    Args:
        sampler: sampler of the generator.
        batch_size: smallest number of samples in a batch. If batches of the run have the same number of images of each
            class, or if D takes several images as one input, the number is rounded up to fit.
        seed: random seed.
        sources: source images (n, C, H, W), for an image-to-image generator.

    Raises:
        InputError: the generator needs source images, and none are given.
    """

    def __init__(self, sampler: Sampler, batch_size: int, seed: int, sources: Tensor | None = None) -> None:
        self.sampler, self.seed = sampler, seed
        unit = unit_of(sampler.spec)
        self.batch_size = unit * math.ceil(batch_size / unit)
        count = max(POOL, self.batch_size) if sources is None else min(POOL, len(sources))
        self.conditions = sampler.conditions(count, {}, derived_seed(seed, "conditions"), sources)

    def draw(self, number: int | str) -> Inputs:
        """Draw batch `number`. The same number gives the same batch."""
        seed, condition = derived_seed(self.seed, f"batch {number}"), None
        if self.conditions is not None:
            randomness = torch.Generator().manual_seed(seed)
            rows = torch.randint(len(self.conditions), (self.batch_size,), generator=randomness)
            if self.sampler.spec.class_balanced:
                rows = torch.arange(self.batch_size)  # labels that cycle through the classes
            condition = self.conditions[rows]
        return self.sampler.inputs(self.sampler.latent(self.batch_size, condition, seed), condition)


def sample_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean absolute difference of samples: L = E |S(z) - T(z)|, with the same z and condition.

    Source: Chang 2020 (TinyGAN), section 3.2, equation 1.
    """
    return (student - teacher).abs().mean()


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean absolute difference of D's features of the samples, relative to the mean of the teacher's.

    Source: Chang 2020 (TinyGAN), section 3.2, equation 3, with the features before D's last layer.

    Args:
        student: features (B, F) of the student's samples.
        teacher: features (B, F) of the teacher's samples.
    """
    return (student - teacher).abs().mean() / teacher.abs().mean().clamp(min=1e-8)


def distil(student: nn.Module, teacher: Sampler, batches: Batches, iterations: int, run: TrainingRun | None) -> None:
    """Train a generator to give the samples of another one. Afterwards, it is in evaluation mode.

    The loss is `sample_loss`, to which `feature_loss` is added if there is a discriminator. Only the student
    is trained.

    Args:
        student: generator to train, on the device of the teacher.
        teacher: sampler of the generator whose samples are the targets.
        batches: z and conditions.
        iterations: number of steps.
        run: run with the trained discriminator, or None.

    Raises:
        GankitError: the loss is NaN or infinite.
    """
    device, optimizer = teacher.device, torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(iterations, 1))
    student.train()
    with progress_bar("distillation", iterations, MofNCompleteColumn()) as bar:
        for number in range(iterations):
            z, condition = batches.draw(number)
            with torch.no_grad():
                target = _with_seed(lambda: teacher.generator(z, condition), device, number)  # noqa: B023
            samples = _with_seed(lambda: student(z, condition), device, number)  # noqa: B023
            loss = sample_loss(samples, target)
            if run is not None:
                loss = loss + _feature_loss(run, samples, target, z, condition, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if (number + 1) % SHOWN_EVERY == 0 or number + 1 == iterations:
                value = loss.item()
                if not math.isfinite(value):
                    raise GankitError(f"distillation: the loss is {value} after {number + 1} steps; no file is written")
                bar.update(bar.task_ids[0], completed=number + 1, description=f"distillation, loss {value:.4f}")
    student.eval()


def _with_seed(function: Callable[[], Tensor], device: torch.device, seed: int) -> Tensor:
    """Call a function with a random state of its own, so that two networks add the same noise."""
    with fork_rng(device, seed):
        return function()


def _feature_loss(
    run: TrainingRun, samples: Tensor, target: Tensor, z: Tensor, condition: Tensor | None, number: int
) -> Tensor:
    """Return `feature_loss` for D's inputs, which plugins may change. Random changes are the same for both."""
    if condition is None and run.spec.condition is not None:
        # G is unconditional and the data are not. Both samples get the same condition, whose value is arbitrary.
        condition = run.spec.condition.blank(len(z)).to(z.device)
    step = Step(run, "generator", real=target, condition=condition, z=z, fake=samples)
    with torch.no_grad():
        expected = _with_seed(lambda: step.real_output.features, run.device, number)
    return feature_loss(_with_seed(lambda: step.fake_output.features, run.device, number), expected)


@torch.no_grad()
def distance(student: nn.Module, teacher: Sampler, batches: Batches) -> float:
    """Return `sample_loss` of two generators in evaluation mode, for a batch that is not used for training."""
    z, condition = batches.draw("test")
    samples = [_with_seed(lambda: one(z, condition), teacher.device, 0) for one in (student, teacher.generator)]  # noqa: B023
    return sample_loss(*samples).item()
