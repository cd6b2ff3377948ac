"""A setting that is one number for all images, or a range from which each image draws its own."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from torch import Tensor


def _low_first(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the low end of a range comes first")
    return ends


def _in_one_sentence(allowed: str) -> WrapValidator:
    """Answers a wrong value once, where pydantic would answer for the number and for the range."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            # A list, which is what TOML and JSON have, would not pass for a tuple where types are strict.
            return handler(tuple(value) if isinstance(value, list) else value)
        except ValidationError:
            raise ValueError(f"a number {allowed} is wanted, or a range [low, high] of two, low first") from None

    return WrapValidator(check)


_Probability = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0)]

Probability = Annotated[
    _Probability | Annotated[tuple[_Probability, _Probability], AfterValidator(_low_first)],
    _in_one_sentence("from 0 to 1"),
]
"""A number from 0 to 1, or a range of them."""

Weight = Annotated[
    _Weight | Annotated[tuple[_Weight, _Weight], AfterValidator(_low_first)],
    _in_one_sentence("of 0 or more"),
]
"""A number of 0 or more, or a range of them."""


def ends(value: float | tuple[float, float]) -> tuple[float, float]:
    """The lowest and the highest number that may be drawn."""
    return value if isinstance(value, tuple) else (value, value)


def draw(value: float | tuple[float, float], count: int, device: torch.device) -> Tensor | float:
    """The number itself, or (count,) numbers drawn uniformly from the range, on `device`."""
    if not isinstance(value, tuple):
        return value
    low, high = value
    return torch.empty(count, device=device).uniform_(low, high)
