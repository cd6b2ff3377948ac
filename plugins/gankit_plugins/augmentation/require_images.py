"""Base class of augmentations. It raises an error if the data are points instead of images."""

from __future__ import annotations

from gankit import Plugin, Spec, hookimpl


class ImageAugmentation(Plugin):
    """Base class of plugins that change images before D. It raises an error for points (images of one pixel)."""

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if spec.resolution == 1:
            raise ValueError("the data are points (images of one pixel), which cannot be augmented; remove this plugin")
