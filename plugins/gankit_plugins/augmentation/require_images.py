"""Base class of augmentation plugins, which can be used neither for points nor for image-to-image translation."""

from __future__ import annotations

from gankit import ImageCondition, Plugin, Spec, hookimpl


class ImageAugmentation(Plugin):
    """Base class of augmentation plugins.

    It raises ValueError if the data are points instead of images, or if the condition is a source image, as in
    image-to-image translation.
    """

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if spec.image_size(self.name) == (1, 1):
            raise ValueError("the data are points (images of one pixel), which cannot be augmented; remove this plugin")
        if isinstance(spec.condition, ImageCondition):
            raise ValueError("an augmentation changes an image, but not its source image; remove this plugin")
