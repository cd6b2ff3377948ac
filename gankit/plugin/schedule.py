"""Settings that can change during the training. Each setting is a number, or a schedule that computes the number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from pydantic import Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from gankit.plugin.base import Settings
from gankit.plugin.slots import Player

if TYPE_CHECKING:
    from torch import Tensor

NUMBER, SCHEDULE = "<number>", "<schedule>"
"""Names in pydantic's errors for the two types of a `Scheduled` setting. Messages to the user omit these names."""

Shape = Literal["linear", "cosine", "exponential", "step"]


class Progress(Protocol):
    """Attributes of a run that determine the value of a schedule."""

    iteration: int
    step_counts: dict[Player, int]
    recipe: Any


class Schedule(Settings):
    """Number that changes from `start` to `end` during the training."""

    schedule: Shape = Field(description="shape of the curve from start to end; step: a jump at `until`")
    start: float = Field(description="value up to `begin`")
    end: float = Field(description="value from `until` on")
    begin: int = Field(0, ge=0, description="where the change begins, in iterations or images")
    until: int | None = Field(
        None, ge=1, description="where the change ends; default: train.iterations, so a longer run stretches the change"
    )
    by: Literal["iterations", "images"] = Field(
        "iterations", description="unit of begin and until; images: D steps times train.batch_size"
    )

    @model_validator(mode="after")
    def _check(self) -> Schedule:
        if self.until is not None and self.until <= self.begin:
            raise ValueError(f"until = {self.until} must be larger than begin = {self.begin}")
        if self.until is None and (self.by == "images" or self.schedule == "step"):
            why = 'by = "images"' if self.by == "images" else 'schedule = "step"'
            raise ValueError(f"set until; {why} has no default for it")
        if self.schedule == "exponential" and self.start * self.end <= 0:
            raise ValueError("an exponential schedule never reaches or crosses 0; start and end need the same sign")
        return self

    # Pydantic checks the bounds of a setting, such as ge=0, with these operators. Comparing `start` and `end` is
    # sufficient, because all other values of a schedule lie between these two. With gt=0, either `start` or `end` may
    # be 0, so that a weight can grow from 0.
    def __gt__(self, bound: float) -> bool:
        return self >= bound and max(self.start, self.end) > bound

    def __ge__(self, bound: float) -> bool:
        return min(self.start, self.end) >= bound

    def __lt__(self, bound: float) -> bool:
        return max(self.start, self.end) < bound

    def __le__(self, bound: float) -> bool:
        return max(self.start, self.end) <= bound

    def __mul__(self, factor: float) -> Schedule:
        return self.model_copy(update={"start": self.start * factor, "end": self.end * factor})

    __rmul__ = __mul__

    def at(self, run: Progress) -> float:
        """Return the value of the schedule at the run's current number of iterations or training images."""
        train = run.recipe.train
        done = run.iteration if self.by == "iterations" else run.step_counts["discriminator"] * train.batch_size
        until = train.iterations if self.until is None else self.until
        if done <= self.begin:
            return self.start
        if done >= until:
            return self.end
        return curve(self.schedule, self.start, self.end, (done - self.begin) / (until - self.begin))


def curve(shape: Shape, start: float, end: float, t: float) -> float:
    """Return the value of a schedule at the fraction t of the schedule's length, with t in [0, 1].

    With the shape `exponential`, the value changes by the same factor in all intervals of the same length.

    Source of the shape `cosine`: Loshchilov 2016, equation 5.
    """
    if shape == "linear":
        return (1 - t) * start + t * end
    if shape == "cosine":
        return end + (start - end) * (1 + math.cos(math.pi * t)) / 2
    if shape == "exponential":
        return start * (end / start) ** t
    return start if t < 1 else end


if TYPE_CHECKING:
    Scheduled = float | Schedule
else:

    class Scheduled:
        """Type of a setting that is a number, or a schedule of a number.

        In a recipe, a schedule is a table: `gamma = { schedule = "cosine", start = 10.0, end = 1.0 }`. Bounds of the
        setting, such as `ge=0`, apply to all values of the schedule. With `gt=0`, either `start` or `end` may be 0, so
        that a weight can grow from 0.
        """

        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
            number, schedule = core_schema.float_schema(allow_inf_nan=False), handler.generate_schema(Schedule)
            return core_schema.tagged_union_schema(
                {NUMBER: number, SCHEDULE: schedule},
                lambda value: SCHEDULE if isinstance(value, dict | Schedule) else NUMBER,
            )


@overload
def value_at(setting: float | Schedule, run: Progress) -> float: ...
@overload
def value_at(setting: float | Schedule | Tensor, run: Progress) -> float | Tensor: ...
def value_at(setting: float | Schedule | Tensor, run: Progress) -> float | Tensor:
    """Return the current value of a setting of type `Scheduled`. Numbers and tensors are returned unchanged."""
    return setting.at(run) if isinstance(setting, Schedule) else setting
