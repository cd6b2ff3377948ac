"""Overlap of generated masks with the shapes in the generated images, for data with the mask as the last channel."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl
from gankit_plugins.metric.caption_words import foreground


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union |A and B| / |A or B|, (N,), of masks (N, H, W) bool. It is 1 for empty masks.

    Source: Jaccard 1912.
    """
    intersection, union = ((a & b).sum((1, 2)), (a | b).sum((1, 2)))
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


class MaskIou(Plugin):
    """Overlap of each generated mask with the shape in its own image, for drawn shapes with their mask as last channel.

    `mask_iou` is the mean intersection over union of the generated mask and of the bright shape in the generated image.
    The shape is found by a rule: pixels that are brighter than the middle between background and maximum. A pixel of
    the mask is inside from a value of 128. `mask_iou_real` is the same mean for real pairs, which the best generator
    reaches. `mask_iou_shuffled` is the mean for masks of other generated images: the value of masks that do not depend
    on the image.

    The metric applies to samples of 2 or 4 channels, such as those of the data `field_channels`.

    Source: none.

    When to use: with images of one bright shape on a dark background, such as `captioned_shapes`.
    When not: with photographs, in which the rule does not find the object; `mask_iou_real` is then low.
    """

    name = "mask_iou"
    kind = "metric"
    better: ClassVar = {"mask_iou": "higher"}

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        real, fake = comparison.real.images, comparison.fake.images
        if real.dim() != 4 or real.shape[1] not in (2, 4) or real.dtype != torch.uint8 or fake.dtype != torch.uint8:
            return None
        shape, mask = shapes_and_masks(fake)
        return {
            "mask_iou": iou(shape, mask).mean().item(),
            "mask_iou_real": iou(*shapes_and_masks(real)).mean().item(),
            "mask_iou_shuffled": iou(shape, mask.roll(1, 0)).mean().item(),
        }


def shapes_and_masks(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shape by the rule and the mask, (N, H, W) bool, for samples (N, C + 1, H, W) uint8."""
    return foreground(samples[:, :-1]), samples[:, -1] >= 128
