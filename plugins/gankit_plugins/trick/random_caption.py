"""Random choice of one of the captions of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import InputError, Player, Plugin, Run, Spec, Step, hookimpl

FIELD = "captions"
"""Name of the field with all captions (N, M, T) of the images."""


def choose(captions: Tensor) -> Tensor:
    """Return one random caption (B, T) for each image, from captions (B, M, T): tokens or embeddings."""
    count, most = captions.shape[:2]
    rows = torch.arange(count, device=captions.device)
    return captions[rows, torch.randint(most, (count,), device=captions.device)]


class RandomCaption(Plugin):
    """Random caption of each image in every step, for images with several captions.

    Without this trick, only the first caption of an image is used. The data plugin `images` has the further captions in
    the field `captions`.

    Source: Reed 2016, section 5: one of the captions of an image is drawn at random.

    When to use: if some images have several captions.
    When not: with one caption for each image; the recipe is then refused.
    """

    name = "random_caption"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if FIELD not in spec.fields:
            raise InputError(f"no image has several captions, so there is no choice; remove {self.name}")

    @hookimpl
    def draw_step(self, run: Run, player: Player) -> Step:
        real, _, fields = run.draw_real()
        condition = choose(fields[FIELD])
        z = run.draw_latent(len(real), condition)
        fake = run.generator(z, condition).float()
        return Step(run, player, real, condition, z, fake, fields=fields)
