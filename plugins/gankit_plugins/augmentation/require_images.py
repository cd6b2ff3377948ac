"""Base class of augmentation plugins, which require images instead of points."""

from __future__ import annotations

from gankit import Plugin, Spec, hookimpl


class ImageAugmentation(Plugin):
    """Base class of augmentation plugins. It raises an error if the data are not images, or points of one pixel."""

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if spec.image_size(self.name) == (1, 1):
            raise ValueError("the data are points (images of one pixel), which cannot be augmented; remove this plugin")
