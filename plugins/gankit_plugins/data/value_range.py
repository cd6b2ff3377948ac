"""Scaling of arrays to images in [-1, 1], by the smallest and the largest possible value."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from gankit import InputError
from gankit_plugins.data.brightness import Limits
from gankit_plugins.data.numpy_files import Array

UNCHANGED: dict[str, Limits] = {"uint8": (0, 255), "uint16": (0, 65535), "float32": (-1, 1)}
"""Data types and ranges of images that need no conversion. gankit scales integers of these types on the device."""

FRACTIONS: Limits = (0, 1)
"""Default range of floating-point values.

A file with values from -1 to 1 or from 0 to 255 is refused with this default, so no file is scaled in a wrong way.
"""


def check_ascending(limits: Limits | None) -> Limits | None:
    """Return the setting `value_range` unchanged. Raise ValueError if the first value is not the smaller one."""
    if limits is not None and not limits[0] < limits[1]:
        raise ValueError("the first value must be smaller than the second one")
    return limits


ValueRange = Annotated[
    Limits | None,
    AfterValidator(check_ascending),
    Field(
        description="[low, high]: the values that become -1 and 1; default: [0, 255] for uint8, [0, 65535] for uint16, "
        "[0, 1] for floating-point numbers"
    ),
]


def range_of(dtype: np.dtype[Any], value_range: Limits | None, source: object) -> Limits:
    """Return the range of values: the setting `value_range`, or the default for the data type.

    Raises:
        InputError: the values are not real numbers, or there is no default for their data type.
    """
    if dtype.kind not in "uif":
        raise InputError(f"path: {source} has values of type {dtype}; images need integers or floating-point numbers")
    if value_range is not None:
        return value_range
    if dtype.kind == "f":
        return FRACTIONS
    if dtype.name not in UNCHANGED:
        raise InputError(f"value_range: {source} has values of type {dtype}; set data.value_range to [low, high]")
    return UNCHANGED[dtype.name]


def is_unchanged(dtype: np.dtype[Any], limits: Limits) -> bool:
    """Return True if values of this data type and range need no conversion."""
    return UNCHANGED.get(dtype.name) == limits


def check_range(values: Array, limits: Limits, source: object) -> None:
    """Raise `InputError` if a value is outside of the range, or is not a number."""
    # Numbers of Python, because NumPy would round the limits to the type of the values, such as float16.
    low, high = float(values.min()), float(values.max())
    if not (limits[0] <= low and high <= limits[1]):  # NaN is also refused, because comparisons with NaN are false
        raise InputError(
            f"value_range: {source} has values from {low:g} to {high:g}, outside of [{limits[0]:g}, {limits[1]:g}]; "
            "set data.value_range to the smallest and the largest possible value"
        )


def to_unit_range(values: Array, limits: Limits, source: object) -> Array:
    """Return the values as float32, scaled so that the limits become -1 and 1. The shape does not change.

    Raises:
        InputError: a value is outside of the range, or is not a number.
    """
    check_range(values, limits, source)
    low, high = limits
    # Compute in float64, because float32 cannot represent all integers of 32 bits.
    scaled: Array = ((values.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32)
    return scaled
