"""Distance of generated images from their targets, for image-to-image translation with pairs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Scheduled, Settings, Spec, Step, hookimpl
from gankit_plugins.layers.translation import source_channels


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return E[|a - b|], the mean over all values of two tensors (B, ...), as a scalar in float32 or a wider type."""
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return (a.to(wide) - b.to(wide)).abs().mean()


class L1ToTarget(Plugin):
    """L1 distance of each generated image from the target of its source image, in G's loss.

    Source: Isola 2017, equations 3 and 4, with lambda = 100. The target is the real image with the same source image.
    The distance is the mean over all pixels and channels. It keeps the colours and outlines of the target, and the
    adversarial loss adds sharp details.

    When to use: with pairs (`image_pairs`, `rule_pairs`), the generator `pix2pix` and the discriminator
    `conditional_patchgan`.
    When not: without pairs; use `cycle_consistency`.
    """

    name = "l1_to_target"

    class Config(Settings):
        weight: Scheduled = Field(100.0, gt=0, description="lambda, weight of the distance in G's loss")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        source_channels(spec, self.name)

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "generator":
            yield LossTerm("l1_to_target", _term, self.config.weight)


def _term(step: Step) -> Tensor:
    return l1(step.real, step.fake)
