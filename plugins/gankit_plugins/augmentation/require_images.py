"""Base class of the augmentations, which require images."""

from __future__ import annotations

from gankit import Plugin, Spec, hookimpl


class ImageAugmentation(Plugin):
    """A plugin that changes images before D. It refuses points, which are images of one pixel."""

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if spec.resolution == 1:
            raise ValueError("the data are points (images of one pixel), which cannot be augmented; remove this plugin")
