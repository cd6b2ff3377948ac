"""Replay of past fake images as inputs of D."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, RecipeInfo, Run, Settings, Spec, Step, hookimpl
from gankit_plugins.layers.conditioning import refuse_other_conditions


class ReplayBuffer:
    """Buffer of images with an equal number of slots for each class.

    The numbers of filled slots are stored in a tensor on the device, so the CPU never waits for the device.

    Args:
        classes: number of classes, 1 for images without classes.
        slots: number of slots for each class.
        shape: shape of an image, (C, H, W).
        device: device of the images.
    """

    def __init__(self, classes: int, slots: int, shape: tuple[int, ...], device: torch.device) -> None:
        self.classes, self.slots = classes, slots
        # `store` writes the images that do not fit in the buffer to one additional row at the end. This row is never
        # read.
        self.rows = torch.zeros(classes * slots + 1, *shape, device=device)
        self.filled = torch.zeros(classes, dtype=torch.int64, device=device)

    @property
    def images(self) -> Tensor:
        """Images of all slots, (classes * slots, C, H, W), sorted by class. Empty slots contain zeros."""
        return self.rows[:-1]

    def sample(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one random stored image of the given class for each entry of `classes`, an int64 tensor (n,).

        Returns:
            The images (n, C, H, W), and a bool tensor (n,) that is True where the buffer has an image of the class.
            Where this tensor is False, the image is a placeholder and must not be used.
        """
        filled = self.filled[classes]
        # Rounding may make `chance * filled` equal to `filled`, which would select an empty slot.
        chance = torch.rand(len(classes), device=classes.device)
        slot = (chance * filled).long().minimum(filled - 1).clamp(min=0)
        return self.rows[classes * self.slots + slot], filled > 0

    def store(self, images: Tensor, classes: Tensor) -> None:
        """Store images (n, C, H, W) in the slots of their classes, given by `classes` (n,).

        Free slots are filled first. Then random stored images are overwritten. No slot is written twice in one call. If
        a class has more new images than slots, only the first images are stored.
        """
        n, device = len(images), images.device
        is_class = classes[:, None] == torch.arange(self.classes, device=device)
        # Index of each image among the new images of its class: 0, 1, ...
        rank = is_class.cumsum(0)[torch.arange(n, device=device), classes] - 1
        position = torch.arange(self.slots, device=device)
        # Sorting by this key puts the free slots of a class first, in ascending order, then the filled slots in random
        # order.
        key = torch.where(
            position < self.filled[:, None],
            torch.rand(self.classes, self.slots, device=device),
            position.float() - self.slots,
        )
        order = key.argsort(dim=1, stable=True)
        slot = order[classes, rank.clamp(max=self.slots - 1)]
        row = torch.where(rank < self.slots, classes * self.slots + slot, self.classes * self.slots)
        self.rows.index_copy_(0, row, images)
        self.filled.add_(is_class.sum(0)).clamp_(max=self.slots)


def replay(fake: Tensor, classes: Tensor, buffer: ReplayBuffer, count: int) -> Tensor:
    """Return a copy of fake images (B, C, H, W) with `count` random images replaced by past images of the same class.

    `classes` (B,) contains the classes of the images. After the replacement, `count` random images of `fake` are stored
    in the buffer. The result is detached from the autograd graph.
    """
    fake = fake.detach()
    order = torch.rand(len(fake), device=fake.device).argsort()
    # Store images that are not replaced, if there are enough of them. The slices overlap only if `count` > B / 2.
    replaced, stored = order[:count], order[-count:]
    past, available = buffer.sample(classes[replaced])
    # Keep the new image if the buffer has no image of its class yet.
    mixed = fake.index_copy(0, replaced, torch.where(available.view(-1, *[1] * (fake.dim() - 1)), past, fake[replaced]))
    buffer.store(fake[stored], classes[stored])
    return mixed


class ExperienceReplay(Plugin):
    """Replacement of some of D's fake inputs by past fake images, which D would otherwise forget.

    Source: Shrivastava 2017, section 2.3. In each D step, a proportion of the fake images is replaced by past images
    from a buffer. The same number of new images is then stored in the buffer. An image is replaced by a past image of
    the same class, and each class has an equal part of the buffer. Images are stored in float32, because D could
    distinguish images with rounded values from new images. Every checkpoint contains the buffer, with 4 bytes for each
    pixel value.

    When to use: if G moves from mode to mode, and D forgets the earlier modes.
    When not: late in a good run, because D then recognises past images easily and learns little from these images.
    """

    name = "experience_replay"
    state_scope = "per_rank"

    class Config(Settings):
        share: float = Field(
            0.5, gt=0, le=1, description="proportion of D's fake images to replace, and of new ones to store"
        )
        capacity: int = Field(1024, ge=1, description="number of images in the buffer, an equal part for each class")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.buffer: ReplayBuffer | None = None
        self.saved: dict[str, Tensor] | None = None

    def count(self, batch: int) -> int:
        """Return the number of images to replace in a batch. The same number of new images is stored in the buffer."""
        return max(1, round(self.config.share * batch))

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        stored = self.count(recipe.train.batch_size // recipe.train.accumulate)
        if self.config.capacity <= stored:
            yield (
                f"a step's {stored} new images fill the whole buffer of {self.config.capacity}, so it holds only "
                "images of the last step; set a capacity of ten batches or more"
            )

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_other_conditions(spec, self.name)
        if self.config.capacity < spec.classes:
            raise ValueError(
                f"experience_replay: capacity = {self.config.capacity} is below the number of classes; set "
                f"{spec.classes} or more"
            )

    @hookimpl
    def on_start(self, run: Run) -> None:
        spec, classes = run.spec, max(1, run.spec.classes)
        # Divide the capacity among the ranks, because each rank stores only images of its part of the batch.
        slots = max(1, self.config.capacity // run.ranks.size // classes)
        self.buffer = ReplayBuffer(classes, slots, spec.shape, run.device)
        if self.saved is not None:
            self.buffer.images.copy_(self.saved["images"])
            self.buffer.filled.copy_(self.saved["filled"])
            self.saved = None

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        if step.simulated:
            return
        assert self.buffer is not None, "on_start is called before the first step"
        count = len(step.fake)
        classes = torch.zeros(count, dtype=torch.int64, device=step.fake.device) if step.labels is None else step.labels
        step.fake = replay(step.fake, classes, self.buffer, self.count(count))

    def state_dict(self) -> dict[str, Any]:
        assert self.buffer is not None, "on_start is called before the first checkpoint"
        return {"images": self.buffer.images, "filled": self.buffer.filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.saved = {"images": state["images"], "filled": state["filled"]}
