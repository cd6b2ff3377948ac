"""Types of settings with one number for all images, or with a range from which a number is drawn for each image."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from torch import Tensor


def _low_first(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the first number of a range must be the lower one")
    return ends


def _single_message(allowed: str) -> WrapValidator:
    """Return a validator that raises one error, instead of pydantic's separate errors for a number and for a range."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            # TOML and JSON have lists, so convert a list to the tuple that the type of a range requires.
            return handler(tuple(value) if isinstance(value, list) else value)
        except ValidationError:
            raise ValueError(f"it must be a number {allowed}, or a range [low, high] of two such numbers") from None

    return WrapValidator(check)


_Probability = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0)]

Probability = Annotated[
    _Probability | Annotated[tuple[_Probability, _Probability], AfterValidator(_low_first)],
    _single_message("from 0 to 1"),
]
"""Number from 0 to 1, or a range [low, high] of numbers from 0 to 1."""

Weight = Annotated[
    _Weight | Annotated[tuple[_Weight, _Weight], AfterValidator(_low_first)],
    _single_message("of 0 or more"),
]
"""Non-negative number, or a range [low, high] of non-negative numbers."""


def ends(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return the lowest and the highest number of a setting that is a number or a range."""
    return value if isinstance(value, tuple) else (value, value)


def draw(value: float | tuple[float, float], count: int, device: torch.device) -> Tensor | float:
    """Return `value` if it is a number. If it is a range, return a tensor of `count` uniform draws on `device`."""
    if not isinstance(value, tuple):
        return value
    low, high = value
    return torch.empty(count, device=device).uniform_(low, high)
