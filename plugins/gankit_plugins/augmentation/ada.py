"""Adaptive discriminator augmentation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gankit import Plugin, Settings, Spec, Step, hookimpl
from gankit_plugins.augmentation.affine import matrices, rotations, scalings, shifts, warp
from gankit_plugins.augmentation.require_images import refuse_points

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run

LUMA = 3**-0.5
"""Each coordinate of the grey axis, of length 1."""


NO_BORDER = ("least_squares", "wasserstein", "relativistic", "relativistic_average")
"""Losses under which an answer of 0 does not lie between D's real and its fake ones."""


def overfitting(real_logits: Tensor) -> Tensor:
    """r_t = E[sign(D(x))] over real images (B,): 0 where D cannot tell, 1 where it is always right (equation 1)."""
    return real_logits.float().sign().mean()


def direction(real_target: Tensor | float, fake_target: Tensor | float, device: torch.device) -> Tensor:
    """1, or -1 where the labels are exchanged and D is right with a negative answer; a scalar."""
    # A number is written on the device: copied there, it would make the CPU wait for it.
    wanted, against = (
        t.float().mean() if isinstance(t, Tensor) else torch.full((), t, dtype=torch.float32, device=device)
        for t in (real_target, fake_target)
    )
    return torch.sign(wanted - against)


def adapted(p: Tensor, r: Tensor, target: float, step: float, most: float) -> Tensor:
    """p + step sign(r - target), kept within [0, most]; all scalars (Karras 2020, section 3.1)."""
    return (p + step * torch.sign(r - target)).clamp(0, most)


def step_size(images: int, kimg: float) -> float:
    """What p moves by for so many images, so that it goes from 0 to 1 within so many thousand of them."""
    return images / (1000 * kimg)


def random_maps(p: Tensor, count: int, resolution: int) -> Tensor:
    """(count, 3, 3) affine maps: each of the geometric changes with probability p for each image.

    Mirrored; turned by a multiple of 90 degrees; shifted by whole pixels, up to an eighth; scaled by 2^N(0, 0.2^2);
    turned by any angle, half of it before and half after scaling in one direction by 2^N(0, 0.2^2); shifted by
    N(0, 0.125^2) of the image's width (Karras 2020, appendix B).
    """
    device = p.device

    def happens(probability: Tensor) -> Tensor:
        return torch.rand(count, device=device) < probability

    def normal() -> Tensor:
        return torch.randn(count, device=device)

    def uniform() -> Tensor:
        return torch.rand(count, device=device)

    one = torch.ones(count, device=device)
    maps = scalings(torch.where(happens(p) & (uniform() < 0.5), -one, one), one)
    quarter = torch.where(happens(p), (uniform() * 4).floor(), 0.0)
    maps = rotations(quarter * (math.pi / 2)) @ maps
    # An image is 2 units wide, so a pixel is 2 / resolution.
    moved = happens(p)
    whole = [torch.where(moved, ((uniform() * 2 - 1) * resolution / 8).round(), 0.0) for _ in range(2)]
    maps = shifts(*(w * (2 / resolution) for w in whole)) @ maps
    scale = torch.where(happens(p), torch.exp2(normal() * 0.2), one)
    maps = scalings(scale, scale) @ maps
    # Two turns, each with a probability such that either happens with p.
    once = 1 - (1 - p).sqrt()
    maps = rotations(torch.where(happens(once), (uniform() * 2 - 1) * math.pi, 0.0)) @ maps
    stretch = torch.where(happens(p), torch.exp2(normal() * 0.2), one)
    maps = scalings(stretch, 1 / stretch) @ maps
    maps = rotations(torch.where(happens(once), (uniform() * 2 - 1) * math.pi, 0.0)) @ maps
    moved = happens(p)
    some = [torch.where(moved, normal() * 0.125, 0.0) for _ in range(2)]
    return shifts(*(s * 2 for s in some)) @ maps


def grey_changes(p: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Factor and summand, (count, 1, 1, 1) each: contrast 2^N(0, 0.5^2) and brightness N(0, 0.2^2), each with p."""
    device = p.device
    bright, contrasted = torch.rand(2, count, 1, 1, 1, device=device) < p
    amount, exponent = torch.randn(2, count, 1, 1, 1, device=device)
    factor = torch.where(contrasted, torch.exp2(exponent * 0.5), 1.0)
    return factor, torch.where(bright, amount * 0.2, 0.0) * factor


def colour_matrices(p: Tensor, count: int) -> Tensor:
    """(count, 3, 3) maps of colours, each change with probability p for each image.

    Luma flipped; hue turned by any angle around the grey axis; saturation scaled by 2^N(0, 1).
    """
    device = p.device
    axis = torch.full((3,), LUMA, device=device)
    grey = torch.outer(axis, axis)
    eye = torch.eye(3, device=device)

    def happens() -> Tensor:
        return torch.rand(count, 1, 1, device=device) < p

    flipped = torch.where(happens() & (torch.rand(count, 1, 1, device=device) < 0.5), eye - 2 * grey, eye)
    angle = torch.where(happens()[:, 0, 0], (torch.rand(count, device=device) * 2 - 1) * math.pi, 0.0)
    saturated = torch.where(happens(), torch.exp2(torch.randn(count, 1, 1, device=device)), 1.0)
    return (grey + (eye - grey) * saturated) @ around_grey(angle) @ flipped


def around_grey(angle: Tensor) -> Tensor:
    """(B, 3, 3) turns of colours around the grey axis by angles (B,) in radians (Rodrigues)."""
    zero, one = torch.zeros_like(angle), torch.full_like(angle, LUMA)
    cross = matrices([[zero, -one, one], [one, zero, -one], [-one, one, zero]])
    eye = torch.eye(3, device=angle.device)
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return eye + sin * cross + (1 - cos) * (cross @ cross)


def augment(images: Tensor, p: Tensor) -> Tensor:
    """All changes, each with probability p for each image.

    Args:
        images: (B, C, R, R). Hue, saturation and luma are changed where C is 3.
        p: a scalar in [0, 1], on the images' device.

    Returns:
        (B, C, R, R), with gradients to the images; the images themselves, to the bit, those that nothing changes.
    """
    count, channels, resolution, _ = images.shape
    with torch.autocast(images.device.type, enabled=False):
        maps = random_maps(p, count, resolution)
        still = (maps == torch.eye(3, device=maps.device)).all((1, 2))[:, None, None, None]
        moved = torch.where(still, images, warp(images, maps))
        factor, summand = grey_changes(p, count)
        changed = moved * factor + summand
        if channels == 3:
            colours = colour_matrices(p, count)
            plain = (colours == torch.eye(3, device=colours.device)).all((1, 2))[:, None, None, None]
            changed = torch.where(plain, changed, torch.einsum("bij,bjhw->bihw", colours, changed.float()))
        return changed.to(images.dtype)


class Ada(Plugin):
    """Augments all that D is shown, as strongly as its overfitting asks for.

    Source: Karras 2020 (Training Generative Adversarial Networks with Limited Data), sections 2 and 3, appendix B.
    Each change happens with probability p for each image; real and generated images are treated alike, and gradients
    reach G. p rises while r = E[sign(D(x))] on real images lies above the target, and falls while it lies below.
    Images with other than three channels have their brightness and contrast changed, but no hue. What comes in from
    beyond an image is black; in the paper it is the image's reflection.

    When to use: some hundreds to some ten thousand images, where D would learn them by heart.
    When not: plenty of images; data in which colour or orientation is the point, since at a p near 1 the changes
    leak into what G draws.
    """

    name = "ada"
    kind = "augmentation"

    class Config(Settings):
        target: float = Field(0.6, gt=-1, lt=1, description="r above which p rises")
        every: int = Field(4, ge=1, description="turns of D between two moves of p")
        kimg: float = Field(500.0, gt=0, description="p can go from 0 to 1 within this many thousand real images")
        initial: float = Field(0.0, ge=0, le=1, description="p at the beginning")
        most: float = Field(0.8, gt=0, le=1, description="p never exceeds this; near 1 the changes leak into samples")

        @model_validator(mode="after")
        def _initial_within(self) -> Ada.Config:
            if self.initial > self.most:
                raise ValueError(f"initial = {self.initial} must not exceed most = {self.most}")
            return self

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.p: Tensor | None = None
        self.r_sum: Tensor | None = None
        self.turns = 0

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        for name in NO_BORDER:
            if recipe.uses(name):
                yield (
                    f"p follows the sign of D's answers, and with {name} an answer of 0 is no border between real and "
                    "fake; use a loss such as non_saturating or hinge, or diff_augment"
                )

    @hookimpl
    def on_start(self, run: Run) -> None:
        if self.p is None:
            self.p = torch.tensor(self.config.initial, device=run.device)
            self.r_sum = torch.zeros((), device=run.device)

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_points(spec)

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        assert self.p is not None, "a run starts before D is shown anything"
        return augment(images, self.p), labels

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        assert self.p is not None
        assert self.r_sum is not None
        c = self.config
        right = direction(step.real_target, step.fake_target, run.device)
        # p is one number for all ranks, and so is what moves it.
        self.r_sum = self.r_sum + run.ranks.mean(right * overfitting(step.real_output.logits.detach()))
        self.turns += 1
        if self.turns % c.every == 0:
            size = step_size(run.recipe.train.batch_size * c.every, c.kimg)
            self.p = adapted(self.p, self.r_sum / c.every, c.target, size, c.most)
            self.r_sum = torch.zeros_like(self.r_sum)

    def state_dict(self) -> dict[str, Any]:
        return {"p": self.p, "r_sum": self.r_sum, "turns": self.turns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.p, self.r_sum, self.turns = state["p"], state["r_sum"], state["turns"]
