"""Augmentation is for pictures."""

from __future__ import annotations

from gankit import Spec


def refuse_points(spec: Spec) -> None:
    """Raises ValueError for images of one pixel, as points of the plane are kept: there is nothing to move in them."""
    if spec.resolution == 1:
        raise ValueError("the data are points, images of one pixel, which cannot be moved about like pictures; drop it")
