"""Metrics of the motion in clips of one bright object on a dark background."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gankit import Comparison, InputError, Plugin, VectorCondition, hookimpl
from gankit_plugins.layers.motion import DIRECTIONS, VELOCITY, positions, uniform_motion


def direction_of(velocity: Tensor) -> Tensor:
    """Return the nearest of the four directions of velocities (N, 2), (N,): 0 for right, 1 down, 2 left, 3 up."""
    right, down = velocity.unbind(1)
    horizontal = right.abs() >= down.abs()
    return torch.where(horizontal, torch.where(right > 0, 0, 2), torch.where(down > 0, 1, 3))


def distance_of_distributions(a: Tensor, b: Tensor) -> Tensor:
    """Return the Wasserstein-1 distance of two samples of numbers, (N,) and (M,): the mean distance of quantiles."""
    levels = (torch.arange(1000, dtype=a.dtype, device=a.device) + 0.5) / 1000
    quantiles = [x.sort().values[(levels * len(x)).long()] for x in (a, b)]
    return (quantiles[0] - quantiles[1]).abs().mean()


class Motion(Plugin):
    """Motion of the bright object in generated clips: smoothness, speed, and agreement with the condition.

    The position of the object in a frame is the centre of the pixels whose largest channel is above half of the
    brightness. Uniform motion is fitted to the positions of a clip. `motion_deviation` is the mean distance of the
    positions from this motion, in pixels. It is near 0 for the clips of `moving_shapes`, and measures jumps and changes
    of speed. `speed_distance` is the Wasserstein-1 distance of the distributions of the speed, in pixels per frame,
    between generated and real clips. It detects objects that do not move.

    If the condition is a direction (classes right, down, left and up), `direction_accuracy` is the proportion of the
    generated clips that move in the requested direction, within 45 degrees. If the condition is a velocity (the numbers
    right and down), `velocity_error` is the mean distance from the requested velocity, in pixels per frame.

    Source: none.

    When to use: with the data `moving_shapes`, or other clips of one bright object that moves straight ahead.
    When not: for natural video; use `frechet_distance` with the extractor `bundled_video`.
    """

    name = "motion"
    kind = "metric"
    better: ClassVar = {
        "motion_deviation": "lower",
        "speed_distance": "lower",
        "direction_accuracy": "higher",
        "velocity_error": "lower",
    }

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        real, _ = self._motion(comparison.real.images)
        velocity, deviation = self._motion(comparison.fake.images)
        metrics = {
            "motion_deviation": deviation.mean().item(),
            "speed_distance": distance_of_distributions(velocity.norm(dim=1), real.norm(dim=1)).item(),
        }
        fake, described, condition = comparison.fake, comparison.fake.described, comparison.fake.condition
        if condition is None:
            return metrics
        if fake.class_names and {*fake.class_names} <= {*DIRECTIONS}:  # in any order, as the folders of own clips
            requested = torch.tensor([DIRECTIONS.index(name) for name in fake.class_names])[condition]
            accuracy = (direction_of(velocity) == requested).double().mean()
            metrics["direction_accuracy"] = accuracy.item()
        elif isinstance(described, VectorCondition) and described.names == VELOCITY:
            low, high = torch.tensor(described.ranges, dtype=torch.float64).T
            requested = (condition.double() * (high - low) + low + high) / 2
            metrics["velocity_error"] = (velocity - requested).norm(dim=1).mean().item()
        return metrics

    def _motion(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        if clips.dim() != 5:
            raise InputError(f"motion: needs video (C, T, H, W), and a sample has shape {tuple(clips.shape[1:])}")
        parts = [part if part.is_floating_point() else part.float() / 127.5 - 1 for part in clips.split(64)]
        return uniform_motion(torch.cat([positions(part) for part in parts]))
