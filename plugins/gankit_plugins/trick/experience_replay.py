"""Past fakes, shown to D among the new ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Step, hookimpl

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run, Spec


class Memory:
    """A buffer of images, in as many shelves of equal length as there are classes.

    Nothing here waits for the device: how full a shelf is, and what lies where, is known to the device alone.

    Args:
        classes: number of shelves, 1 for images without classes.
        slots: images on each shelf.
        shape: of one image, (C, R, R).
        device: where the images lie.
    """

    def __init__(self, classes: int, slots: int, shape: tuple[int, int, int], device: torch.device) -> None:
        self.classes, self.slots = classes, slots
        # One row more than there are slots takes the images for which there is no room.
        self.rows = torch.zeros(classes * slots + 1, *shape, device=device)
        self.filled = torch.zeros(classes, dtype=torch.int64, device=device)

    @property
    def images(self) -> Tensor:
        """All that can be remembered, (classes * slots, C, R, R), shelf after shelf; zeros where nothing is yet."""
        return self.rows[:-1]

    def recall(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """A past image for each class asked for, any on its shelf with equal chance.

        Args:
            classes: (n,) int64.

        Returns:
            The images, (n, C, R, R), and (n,) bool: whether the shelf has any. Where it has none, the image means
            nothing.
        """
        filled = self.filled[classes]
        # In float64 a number below 1 times a count stays below the count.
        chance = torch.rand(len(classes), dtype=torch.float64, device=classes.device)
        slot = (chance * filled).long()
        return self.rows[classes * self.slots + slot], filled > 0

    def store(self, images: Tensor, classes: Tensor) -> None:
        """Puts images on the shelves of their classes: in free slots first, then over others chosen at random.

        No slot is written twice. Of more images of a class than a shelf has slots, the first are kept.

        Args:
            images: (n, C, R, R).
            classes: (n,) int64.
        """
        n, device = len(images), images.device
        of_class = classes[:, None] == torch.arange(self.classes, device=device)
        # The how manieth of its class each image is: 0, 1, ...
        rank = of_class.cumsum(0)[torch.arange(n, device=device), classes] - 1
        position = torch.arange(self.slots, device=device)
        # Sorted by this, each shelf's free slots come first, in their order, and then the others in any order.
        key = torch.where(
            position < self.filled[:, None],
            torch.rand(self.classes, self.slots, dtype=torch.float64, device=device),
            position.double() - self.slots,
        )
        order = key.argsort(dim=1, stable=True)
        slot = order[classes, rank.clamp(max=self.slots - 1)]
        row = torch.where(rank < self.slots, classes * self.slots + slot, self.classes * self.slots)
        self.rows.index_copy_(0, row, images)
        self.filled.add_(of_class.sum(0)).clamp_(max=self.slots)


def replay(fake: Tensor, classes: Tensor, memory: Memory, count: int) -> Tensor:
    """The fakes with `count` of them, chosen at random, replaced by past ones of their class; then `count` are stored.

    What is stored are new fakes that were not replaced, as far as there are enough of them. A fake of whose
    class nothing is remembered stays.

    Args:
        fake: (B, C, R, R); left as it is.
        classes: (B,) int64.
        memory: is read, then written.
        count: from 1 to B.

    Returns:
        (B, C, R, R), without a gradient.
    """
    fake = fake.detach()
    order = torch.rand(len(fake), device=fake.device).argsort()
    replaced, stored = order[:count], order[-count:]
    past, known = memory.recall(classes[replaced])
    shown = fake.index_copy(0, replaced, torch.where(known[:, None, None, None], past, fake[replaced]))
    memory.store(fake[stored], classes[stored])
    return shown


class ExperienceReplay(Plugin):
    """Shows D past fakes among the new ones, so that it does not forget what G did before.

    Source: Shrivastava 2017, section 2.3. In each of D's turns a share of the fakes comes from a buffer of past
    ones, and as many new fakes then overwrite random ones in the buffer, which fills up first. Labels belong to
    real and generated images alike, so a fake is replaced by one of its own class, and each class has an equal
    part of the buffer. Past fakes are kept in float32: rounded to 256 levels, as most real images are, they
    would give themselves away. The buffer is part of every checkpoint, 4 bytes for each number in it.

    When to use: G goes round in circles, from mode to mode, and D each time learns anew what it has forgotten.
    When not: late in a good run, where the past fakes are easy for D and half of its attention is wasted on them.
    """

    name = "experience_replay"
    state_scope = "per_rank"

    class Config(Settings):
        share: float = Field(
            0.5,
            gt=0,
            le=1,
            description="part of D's fakes that is replaced by past ones, and of the new ones that is kept; "
            "rounded to whole images, at least one",
        )
        capacity: int = Field(1024, ge=1, description="images in the buffer, an equal part of it for each class")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.memory: Memory | None = None
        self.saved: dict[str, Tensor] | None = None

    def count(self, batch: int) -> int:
        """How many of a batch's fakes are replaced, and as many stored."""
        return max(1, round(self.config.share * batch))

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        stored = self.count(recipe.train.batch_size // recipe.train.accumulate)
        if self.config.capacity <= stored:
            yield (
                f"a turn's {stored} new fakes overwrite all of a buffer of {self.config.capacity}, which then holds "
                "nothing older than one turn; a capacity of ten batches and more is usual"
            )

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if self.config.capacity < spec.classes:
            raise ValueError(
                f"a buffer of {self.config.capacity} images has no room for each of {spec.classes} classes; "
                f"capacity must be {spec.classes} or more"
            )

    @hookimpl
    def on_start(self, run: Run) -> None:
        spec, classes = run.spec, max(1, run.spec.classes)
        shape = (spec.channels, spec.resolution, spec.resolution)
        # Ranks share the capacity as they share a batch.
        slots = max(1, self.config.capacity // run.ranks.size // classes)
        self.memory = Memory(classes, slots, shape, run.device)
        if self.saved is not None:
            self.memory.images.copy_(self.saved["images"])
            self.memory.filled.copy_(self.saved["filled"])
            self.saved = None

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        if step.simulated:
            return
        assert self.memory is not None, "a run starts before its first turn"
        count = len(step.fake)
        classes = torch.zeros(count, dtype=torch.int64, device=step.fake.device) if step.labels is None else step.labels
        step.fake = replay(step.fake, classes, self.memory, self.count(count))

    def state_dict(self) -> dict[str, Any]:
        assert self.memory is not None, "a run saves after it has started"
        return {"images": self.memory.images, "filled": self.memory.filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.saved = {"images": state["images"], "filled": state["filled"]}
