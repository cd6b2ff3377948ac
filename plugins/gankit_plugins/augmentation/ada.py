"""Adaptive discriminator augmentation (ADA)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gankit import Settings, Step, hookimpl
from gankit_plugins.augmentation.affine import matrices, rotations, scalings, shifts, split_opacity, warp
from gankit_plugins.augmentation.require_images import ImageAugmentation

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run

LUMA = 3**-0.5
"""Value of each component of the unit vector along the grey axis, the line R = G = B in RGB space."""

LOSSES_WITHOUT_SIGN = ("began", "ebgan", "least_squares", "wasserstein")
"""Names of losses for which the sign of D's logit does not separate real from fake images."""


def overfitting(real_logits: Tensor) -> Tensor:
    """Return ADA's measure of D's overfitting, E[sign(D(x))], for the logits (B, ...) of real images.

    The result is a scalar, which Karras 2020 calls r_t (equation 1). 0 means no overfitting: half of the logits are
    positive. 1 means strong overfitting: all logits are positive.
    """
    return real_logits.float().sign().mean()


def direction(real_target: Tensor | float, fake_target: Tensor | float, device: torch.device) -> Tensor:
    """Return the sign that D's logits should have for real images.

    The sign is 1 if the target of real images is above the target of generated images, and -1 if it is below.
    """
    # torch.full creates the scalar on the device. Copying a Python number would synchronise the CPU with the GPU.
    real, fake = (
        t.float().mean() if isinstance(t, Tensor) else torch.full((), t, dtype=torch.float32, device=device)
        for t in (real_target, fake_target)
    )
    return torch.sign(real - fake)


def adapt(p: Tensor, r: Tensor, target: float, step: float, largest: float) -> Tensor:
    """Return the next augmentation probability p: p + step * sign(r - target), clamped to [0, largest].

    r measures how much D overfits. `step` is the change of p, and `largest` is the upper limit of p.

    Source:
        Karras 2020, section 3.1.
    """
    return (p + step * torch.sign(r - target)).clamp(0, largest)


def random_maps(p: Tensor, count: int, height: int, width: int) -> Tensor:
    """Draw a random affine map for each of `count` images of `height` x `width` pixels. Return the maps (count, 3, 3).

    A map is a product of geometric transformations. Each transformation is applied to each image with probability p, in
    this order:

    - horizontal flip (with probability p / 2)
    - rotation by a multiple of 90 degrees
    - shift by whole pixels, up to an eighth of the image
    - scaling by 2^N(0, 0.2^2)
    - rotation by any angle
    - anisotropic scaling by 2^N(0, 0.2^2)
    - second rotation by any angle
    - shift by N(0, 0.125^2) times the image's width and height

    For the two rotations by any angle, p is the probability that at least one of them is applied.

    Source:
        Karras 2020, appendix B.
    """
    device = p.device

    normal, uniform = partial(torch.randn, count, device=device), partial(torch.rand, count, device=device)

    def happens(probability: Tensor) -> Tensor:
        return uniform() < probability

    one = torch.ones(count, device=device)
    maps = scalings(torch.where(happens(p) & (uniform() < 0.5), -one, one), one)
    quarter = torch.where(happens(p), (uniform() * 4).floor(), 0.0)
    maps = rotations(quarter * (math.pi / 2)) @ maps
    # The height of an image is 2 in the coordinates of the maps, so a pixel is `2 / height` high.
    shifted = happens(p)
    pixels = [torch.where(shifted, ((uniform() * 2 - 1) * side / 8).round(), 0.0) for side in (width, height)]
    maps = shifts(*(distance * (2 / height) for distance in pixels)) @ maps
    scale = torch.where(happens(p), torch.exp2(normal() * 0.2), one)
    maps = scalings(scale, scale) @ maps
    # If each of the two rotations by any angle has the probability `p_rotation`, at least one is applied with
    # probability p.
    p_rotation = 1 - (1 - p).sqrt()
    maps = rotations(torch.where(happens(p_rotation), (uniform() * 2 - 1) * math.pi, 0.0)) @ maps
    stretch = torch.where(happens(p), torch.exp2(normal() * 0.2), one)
    maps = scalings(stretch, 1 / stretch) @ maps
    maps = rotations(torch.where(happens(p_rotation), (uniform() * 2 - 1) * math.pi, 0.0)) @ maps
    shifted = happens(p)
    distances = [torch.where(shifted, normal() * 0.125, 0.0) for _ in range(2)]
    return shifts(distances[0] * (2 * width / height), distances[1] * 2) @ maps


def grey_changes(p: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw random changes of contrast and brightness. Return a factor and an offset, both (count, 1, 1, 1).

    A value from N(0, 0.2^2) is added to the brightness. Then the contrast is multiplied by 2^N(0, 0.5^2).
    The changed images are `images * factor + offset`. Each change is applied to each image with probability p.
    """
    device = p.device
    bright, contrasted = torch.rand(2, count, 1, 1, 1, device=device) < p
    amount, exponent = torch.randn(2, count, 1, 1, 1, device=device)
    factor = torch.where(contrasted, torch.exp2(exponent * 0.5), 1.0)
    return factor, torch.where(bright, amount * 0.2, 0.0) * factor


def colour_matrices(p: Tensor, count: int) -> Tensor:
    """Draw a random matrix for the RGB colours of each of `count` images. Return the matrices (count, 3, 3).

    A matrix is a product of colour changes. Each change is applied to each image with probability p, in this order:

    - luma flip (with probability p / 2)
    - rotation of the hue by any angle around the grey axis
    - scaling of the saturation by 2^N(0, 1)
    """
    device = p.device
    axis = torch.full((3,), LUMA, device=device)
    grey = torch.outer(axis, axis)
    eye = torch.eye(3, device=device)

    def happens() -> Tensor:
        return torch.rand(count, 1, 1, device=device) < p

    flip = torch.where(happens() & (torch.rand(count, 1, 1, device=device) < 0.5), eye - 2 * grey, eye)
    angle = torch.where(happens()[:, 0, 0], (torch.rand(count, device=device) * 2 - 1) * math.pi, 0.0)
    saturation = torch.where(happens(), torch.exp2(torch.randn(count, 1, 1, device=device)), 1.0)
    return (grey + (eye - grey) * saturation) @ hue_rotations(angle) @ flip


def hue_rotations(angle: Tensor) -> Tensor:
    """Return the matrices (B, 3, 3) that rotate RGB colours around the grey axis by angles (B,), in radians.

    The matrices are computed with Rodrigues' rotation formula.
    """
    zero, one = torch.zeros_like(angle), torch.full_like(angle, LUMA)
    cross = matrices([[zero, -one, one], [one, zero, -one], [-one, one, zero]])
    eye = torch.eye(3, device=angle.device)
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return eye + sin * cross + (1 - cos) * (cross @ cross)


def augment(images: Tensor, p: Tensor) -> Tensor:
    """Apply the geometric and colour changes of ADA, each with probability p for each image.

    If no change is applied to an image, its values stay exactly the same.

    Args:
        images: (B, C, H, W) in [-1, 1]. Hue, saturation and luma change only for RGB (C = 3) and RGBA (C = 4).
        p: probability of each change, a scalar tensor on the images' device.
    """
    count, channels, height, width = images.shape
    with torch.autocast(images.device.type, enabled=False):
        maps = random_maps(p, count, height, width)
        unmoved = (maps == torch.eye(3, device=maps.device)).all((1, 2))[:, None, None, None]
        moved = torch.where(unmoved, images, warp(images, maps))
        factor, summand = grey_changes(p, count)
        coloured, opacity = split_opacity(moved)
        changed = coloured * factor + summand
        if channels in (3, 4):
            colours = colour_matrices(p, count)
            same_colours = (colours == torch.eye(3, device=colours.device)).all((1, 2))[:, None, None, None]
            changed = torch.where(same_colours, changed, torch.einsum("bij,bjhw->bihw", colours, changed.float()))
        return torch.cat([changed.to(images.dtype), opacity], 1)


class Ada(ImageAugmentation):
    """ADA: augmentation of D's real and generated inputs. The strength of the augmentation adapts to D's overfitting.

    Each geometric or colour change is applied to each image with probability p. The changes are differentiable, so
    gradients reach G. The mean sign of D's logits on real images, r = E[sign(D(x))], measures overfitting. p increases
    while r is above the target, and decreases while r is below it. Hue, saturation and luma change only in RGB and RGBA
    images. Pixels outside the original image become black. The paper fills them with a reflection of the image.

    Source: Karras 2020 (Training Generative Adversarial Networks with Limited Data), sections 2 and 3, appendix B.

    When to use: for datasets of a few hundred to tens of thousands of images, which D would memorise without
    augmentation.
    When not: for hundreds of thousands of images or more, or if colour or orientation matters. With p near 1, the
    changes appear in the generated images.
    """

    name = "ada"
    kind = "augmentation"

    class Config(Settings):
        target: float = Field(0.6, gt=-1, lt=1, description="value of r above which p increases")
        every: int = Field(4, ge=1, description="number of D steps between two changes of p")
        kimg: float = Field(500.0, gt=0, description="thousands of real images within which p can go from 0 to 1")
        initial: float = Field(0.0, ge=0, le=1, description="initial value of p")
        most: float = Field(0.8, gt=0, le=1, description="largest value of p; near 1 the changes appear in samples")

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
        self.steps = 0

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        for plugin_class in (component.plugin_class for component in recipe.components.values()):
            if plugin_class.relativistic_logits or plugin_class.name in LOSSES_WITHOUT_SIGN:
                yield (
                    "p depends on the sign of D's logits, which does not separate real from fake with "
                    f"{plugin_class.name}; use a loss such as non_saturating or hinge, or diff_augment"
                )

    @hookimpl
    def on_start(self, run: Run) -> None:
        if self.p is None:
            self.p = torch.tensor(self.config.initial, device=run.device)
            self.r_sum = torch.zeros((), device=run.device)

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        assert self.p is not None, "on_start comes first"
        return augment(images, self.p), condition

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        assert self.p is not None
        assert self.r_sum is not None
        c = self.config
        sign = direction(step.real_target, step.fake_target, run.device)
        # Average r over the ranks, because p must be equal on all ranks.
        self.r_sum = self.r_sum + run.ranks.mean(sign * overfitting(step.real_output.logits.detach()))
        self.steps += 1
        if self.steps % c.every == 0:
            # With this step size, p can increase from 0 to 1 within `kimg` thousand real images.
            size = run.recipe.train.batch_size * c.every / (1000 * c.kimg)
            self.p = adapt(self.p, self.r_sum / c.every, c.target, size, c.most)
            self.r_sum = torch.zeros_like(self.r_sum)

    @hookimpl
    def log_values(self) -> dict[str, Tensor]:
        assert self.p is not None
        return {"ada_p": self.p}

    def state_dict(self) -> dict[str, Any]:
        return {"p": self.p, "r_sum": self.r_sum, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.p, self.r_sum, self.steps = state["p"], state["r_sum"], state["steps"]
