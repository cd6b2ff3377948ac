"""Base class of augmentation plugins, which require images instead of points."""

from __future__ import annotations

from gankit import Plugin, Spec, hookimpl


class ImageAugmentation(Plugin):
    """Base class of augmentation plugins. It raises an error if the data are points, which are images of one pixel."""

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if spec.resolution == 1:
            raise ValueError("the data are points (images of one pixel), which cannot be augmented; remove this plugin")
