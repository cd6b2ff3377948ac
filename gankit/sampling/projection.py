"""Projection of images into the latent space: a search for the z or w from which a generator draws a given image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gankit.data.user_images import user_images
from gankit.errors import InputError
from gankit.images.grid import as_input
from gankit.plugin.condition import ClassCondition
from gankit.plugin.protocols import StyleBased
from gankit.runtime.rng import RandomState, derived_seed, eval_mode, fork_rng
from gankit.sampling.grid import MAX_ROWS
from gankit.sampling.sampler import Sampler
from gankit.sampling.walk import codes

Space = Literal["z", "w"]
"""Name of a latent space: z, the input of a generator, or w, the style vector of a style-based generator."""

PRIOR_DRAWS = 10_000
"""Number of z that are drawn to measure the prior and the mean of w (Karras 2019, appendix D)."""

RANDOM_IMAGES = 256
"""Number of random images to which a projection is compared. The search in z starts from the nearest of them."""

STARTS = 8
"""Minimum number of starting points of the search in z."""

LEARNING_RATE = 0.1
"""Largest learning rate of Adam, in standard deviations of a component of z or w (Karras 2019, appendix D)."""

RAMP_UP, RAMP_DOWN = 0.05, 0.25
"""Parts of the search in which the learning rate rises and falls (Karras 2019, appendix D)."""

NOISE, NOISE_PART = 0.05, 0.75
"""Initial noise of w, as a multiple of sigma_w, and the part of the search with noise (Karras 2019, appendix D)."""

PLAUSIBLE = (0.01, 0.99)
"""Quantiles of the norm of z between which the norm stays, if the prior is spherical."""

SMALLEST = 4
"""Side in pixels at which the image pyramid ends."""

FRAMES = 100
"""Maximum number of recorded points of a search, from which a video of the search can be drawn."""

Encode = Callable[[Tensor], Tensor]
"""Encoder: a function that maps images (B, C, H, W) in [-1, 1] to z (B, latent_size)."""

OnStep = Callable[[int, Tensor], None]
"""Function that is called after each step of a search with the number of steps and the smallest distance, a scalar."""


class LatentPoint(NamedTuple):
    """Point in a latent space of a generator."""

    space: Space
    latent: Tensor
    """z or w, (L,), on the CPU."""

    label: int | None
    """Index of the class, or None if the generator has no classes."""


@dataclass(frozen=True)
class Projection:
    """Result of a projection: the latent vector, the image that the generator draws from it, and its distances.

    Errors are mean squared errors over all pixels, whose values are in [-1, 1].
    """

    point: LatentPoint
    target: Tensor
    """Image that was projected, (C, H, W) in [-1, 1]."""

    image: Tensor
    """Image that the generator draws from the latent vector, (C, H, W) in [-1, 1]."""

    error: float
    distance: float
    """Distance that was minimised (`pyramid_distance`)."""

    random_error: float
    """Error of the nearest of `RANDOM_IMAGES` random images of the generator."""

    encoder_error: float | None
    """Error of the image from the encoder's z without a search, or None without an encoder."""

    path: Tensor
    """Points of the search for this latent vector, from the start to the end, (T, L)."""


def pyramid_distance(images: Tensor, target: Tensor) -> Tensor:
    """Return the mean of the mean squared errors at all levels of an image pyramid, (N,).

    Each level halves height and width by averaging 2x2 pixels, until a side has at most `SMALLEST` pixels. The coarse
    levels compare the layout of the images, and ignore small shifts of edges.

    Args:
        images: images, (N, C, H, W).
        target: image, (C, H, W).
    """
    difference = images - target
    levels = [difference.square().mean((1, 2, 3))]
    while min(difference.shape[2:]) > SMALLEST:
        # The mean of a difference equals the difference of the means.
        difference = F.avg_pool2d(difference, 2, ceil_mode=True)
        levels.append(difference.square().mean((1, 2, 3)))
    return torch.stack(levels).mean(0)


def psnr(error: float) -> float:
    """Return the peak signal-to-noise ratio in dB for a mean squared error of pixels in [-1, 1]."""
    return 10 * math.log10(4 / error) if error > 0 else math.inf


def rate_factor(t: float) -> float:
    """Return the factor of the learning rate at part t of the search, in [0, 1] (Karras 2019, appendix D).

    The factor rises linearly at the beginning, and falls like a cosine at the end.
    """
    fall = min(1.0, (1 - t) / RAMP_DOWN)
    return (1 - math.cos(math.pi * fall)) / 2 * min(1.0, t / RAMP_UP)


def noise_factor(t: float) -> float:
    """Return the factor of the noise at part t of the search, in [0, 1] (Karras 2019, appendix D)."""
    return max(0.0, 1 - t / NOISE_PART) ** 2


def generate(generator: nn.Module, space: Space, latents: Tensor, condition: Tensor | None) -> Tensor:
    """Return the images (N, C, H, W) of points (N, L) in z or w. In w, all layers get the same w."""
    if space == "z":
        images: Tensor = generator(latents, condition)
        return images.float()
    assert isinstance(generator, StyleBased)
    return generator.synthesize(latents[:, None].expand(-1, generator.style_layers, -1)).float()


@torch.no_grad()
def draw_points(sampler: Sampler, space: Space, latents: Tensor, condition: Tensor | None) -> Tensor:
    """Generate the images of points (N, L), (N, C, H, W) in [-1, 1] on the CPU.

    The images are generated one at a time. Random numbers inside the generator, such as StyleGAN's noise, are then the
    same for each image, so that a video does not flicker.
    """
    images = []
    with eval_mode(sampler.generator), fork_rng(sampler.device):
        state = RandomState.capture(sampler.device)
        for row in range(len(latents)):
            some = None if condition is None else condition[row : row + 1].to(sampler.device)
            state.restore(sampler.device)
            images.append(generate(sampler.generator, space, latents[row : row + 1].to(sampler.device), some).cpu())
    return torch.cat(images)


def descend(
    draw: Callable[[Tensor], Tensor],
    starts: Tensor,
    target: Tensor,
    steps: int,
    rate: float,
    noise: float,
    limit: Callable[[Tensor], Tensor],
    seed: int,
    on_step: OnStep | None = None,
) -> Tensor:
    """Minimise the distance to an image from several starting points. Return the paths, (T, N, L), on the CPU.

    The optimiser is Adam with the learning rate and the noise of Karras 2019, appendix D.

    Args:
        draw: differentiable function that maps points (N, L) to images (N, C, H, W).
        starts: starting points, (N, L).
        target: image, (C, H, W).
        steps: number of steps.
        rate: largest learning rate.
        noise: standard deviation of the noise at the start.
        limit: function that moves points (N, L) to the nearest plausible points, after each step.
        seed: random seed of the noise.
        on_step: function that is called after each step.
    """
    points = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([points], lr=rate)
    randomness = torch.Generator().manual_seed(seed)
    path = [starts.cpu()]
    recorded = {round((k + 1) * steps / FRAMES) for k in range(FRAMES)}
    for step in range(1, steps + 1):
        t = step / steps
        optimizer.param_groups[0]["lr"] = rate * rate_factor((step - 0.5) / steps)
        shifts = torch.randn(points.shape, generator=randomness).to(points.device) * (noise * noise_factor(t))
        distances = pyramid_distance(draw(points + shifts), target)
        # The gradient of a sum over independent rows is the gradient of each row.
        (points.grad,) = torch.autograd.grad(distances.sum(), points)
        optimizer.step()
        with torch.no_grad():
            points.copy_(limit(points))
        if step in recorded:
            path.append(points.detach().cpu().clone())
        if on_step is not None:
            on_step(step, distances.detach().min())
    return torch.stack(path)


def norm_limit(lowest: float, highest: float) -> Callable[[Tensor], Tensor]:
    """Return a function that scales vectors (N, L) whose norm is outside [lowest, highest] to the nearest such norm."""

    def limit(points: Tensor) -> Tensor:
        norm = points.norm(dim=1, keepdim=True)
        return points * (norm.clamp(lowest, highest) / norm)

    return limit


class Projector:
    """Search for the latent vectors of images, with everything that is computed once for a generator.

    A style-based generator is searched in w. The search starts from the mean of w, with noise that fades (Karras 2019,
    appendix D). Any other generator is searched in z, from the random images that are nearest to the target. For each
    class, there is at least one starting point. The norm of z (spherical prior) or each component of z (other priors)
    stays within the range of random z. Components that are exactly 0 or 1, as in one-hot codes, do not change.

    Args:
        sampler: sampler with the generator and the prior.
        label: name or index of the class. None for all classes of a class-conditional generator, of which the best is
            kept.
        seed: random seed.
        encode: encoder of the run, whose z is one more starting point for each class, or None.

    Raises:
        InputError: the generator has another condition than a class, too many classes, or draws no images.
    """

    def __init__(
        self, sampler: Sampler, label: str | int | None = None, seed: int = 0, encode: Encode | None = None
    ) -> None:
        if sampler.draw_samples is not None or len(sampler.spec.shape) != 3:
            raise InputError("the generator draws no images; only images can be projected")
        self.sampler, self.seed, self.encode = sampler, seed, encode
        self.space: Space = "w" if isinstance(sampler.generator, StyleBased) else "z"
        self.labels = labels_of(sampler, label)
        groups = 1 if self.labels is None else len(self.labels)
        condition = self._condition(torch.arange(PRIOR_DRAWS) % groups)
        z = sampler.latent(PRIOR_DRAWS, condition, derived_seed(seed, "projection"))
        self._random_z = z[:RANDOM_IMAGES]
        self._random_group = torch.arange(len(self._random_z)) % groups
        self._random = torch.cat(list(sampler.outputs(self._random_z, self._condition(self._random_group))))
        self._groups = groups
        if self.space == "w":
            w = self._to_w(z, condition)
            self._means = torch.stack([w[group::groups].mean(0) for group in range(groups)])
            spread = w - self._means[torch.arange(PRIOR_DRAWS) % groups]
            deviation = spread.square().mean().sqrt().item()
            self._noise = NOISE * deviation * math.sqrt(w.shape[1])
            self._limit: Callable[[Tensor], Tensor] = lambda points: points
        else:
            deviation, self._noise = z.std().item(), 0.0
            self._limit = self._limit_of(z)
        self._rate = LEARNING_RATE * deviation

    def project(self, target: Tensor, steps: int = 500, on_step: OnStep | None = None) -> Projection:
        """Search for the latent vector of an image, (C, H, W) in [-1, 1], and return the best result.

        The result is never farther from the image than the nearest starting point. With 0 steps, it is this point.
        """
        sampler, on_device = self.sampler, target.to(self.sampler.device)
        starts, groups = self._starts(target)
        condition = self._condition(groups)
        given = None if condition is None else condition.to(sampler.device)
        # Keep discrete codes: the gradient must not change components that are exactly 0 or 1.
        fixed = codes(starts).to(sampler.device) if self.space == "z" else torch.zeros_like(starts, dtype=torch.bool)
        first = starts.to(sampler.device)

        def draw(points: Tensor) -> Tensor:
            # Noise inside the generator must be the same in each step, and that of `draw_points`.
            state.restore(sampler.device)
            return generate(sampler.generator, self.space, points, given)

        def limit(points: Tensor) -> Tensor:
            return torch.where(fixed.to(points.device), first, self._limit(points))

        seed = derived_seed(self.seed, "noise")
        with eval_mode(sampler.generator), fork_rng(sampler.device):
            state = RandomState.capture(sampler.device)
            paths = descend(draw, first, on_device, steps, self._rate, self._noise, limit, seed, on_step)
        ends = torch.cat([paths[-1], starts])
        images = draw_points(sampler, self.space, ends, None if condition is None else condition.repeat(2))
        # `argmin` treats NaN as the smallest number. A search that fails must not be the result.
        distances = pyramid_distance(images, target).nan_to_num(math.inf)
        best = int(distances.argmin())
        row = best % len(starts)
        nearest = int(pyramid_distance(self._random, target).argmin())
        encoded = distances[-self._groups :].argmin() - self._groups
        return Projection(
            LatentPoint(self.space, ends[best], None if condition is None else int(condition[row])),
            target,
            images[best],
            mean_squared_error(images[best], target),
            distances[best].item(),
            mean_squared_error(self._random[nearest], target),
            None if self.encode is None else mean_squared_error(images[encoded], target),
            paths[:, row] if best < len(starts) else starts[row : row + 1],
        )

    def _condition(self, groups: Tensor) -> Tensor | None:
        """Return the labels (N,) for indices (N,) of the searched classes, or None without classes."""
        return None if self.labels is None else self.labels[groups]

    def _starts(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the starting points (N, L), and for each the index of its class among the searched classes (N,).

        The last points are those of the encoder, one for each class, if there is an encoder.
        """
        if self.space == "w":
            points, groups = self._means, torch.arange(self._groups)
        else:
            distances = pyramid_distance(self._random, target)
            each = math.ceil(STARTS / self._groups)
            ranked = distances.argsort()
            rows = torch.cat([ranked[self._random_group[ranked] == group][:each] for group in range(self._groups)])
            points, groups = self._random_z[rows], self._random_group[rows]
        if self.encode is None:
            return points, groups
        z = self.encode(target[None].to(self.sampler.device)).cpu().expand(self._groups, -1)
        every = torch.arange(self._groups)
        encoded = self._to_w(z, self._condition(every)) if self.space == "w" else z
        return torch.cat([points, encoded]), torch.cat([groups, every])

    @torch.no_grad()
    def _to_w(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Map z (N, latent_size) to w (N, W) on the CPU."""
        generator, device = self.sampler.generator, self.sampler.device
        assert isinstance(generator, StyleBased)
        with eval_mode(self.sampler.generator), fork_rng(device):
            return generator.map_latent(z.to(device), None if condition is None else condition.to(device)).float().cpu()

    def _limit_of(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function that keeps points plausible under the prior, from z (N, L) of the prior."""
        if self.sampler.spherical_prior:
            lowest, highest = (z.norm(dim=1).quantile(q).item() for q in PLAUSIBLE)
            return norm_limit(lowest, highest)
        low, high = (bound.to(self.sampler.device) for bound in (z.amin(0), z.amax(0)))
        return lambda points: points.clamp(low, high)


def project(
    sampler: Sampler,
    images: Tensor | Sequence[str | Path],
    label: str | int | None = None,
    steps: int = 500,
    seed: int = 0,
    encode: Encode | None = None,
) -> list[Projection]:
    """Find the z or w from which a generator draws images that are as near as possible to the given images.

    Args:
        sampler: sampler with the generator.
        images: paths of image files, which are cropped and resized to the size of the generator's images; or images
            (N, C, H, W) of this size, uint8 in [0, 255] or float in [-1, 1].
        label: name or index of the class of the images. None to search all classes and keep the best.
        steps: number of gradient steps for each image.
        seed: random seed.
        encode: function that maps images (B, C, H, W) in [-1, 1] to z (B, latent_size), for additional starting points.

    Returns:
        A `Projection` for each image.

    Raises:
        InputError: an image cannot be used, or the generator has another condition than at most 20 classes.
    """
    projector = Projector(sampler, label, seed, encode)
    if not isinstance(images, Tensor):
        images = user_images([Path(path) for path in images], sampler.spec.shape)
    if images.shape[1:] != sampler.spec.shape:
        raise InputError(f"the images are {tuple(images.shape[1:])}; the generator draws {sampler.spec.shape}")
    return [projector.project(image, steps) for image in as_input(images)]


def labels_of(sampler: Sampler, label: str | int | None) -> Tensor | None:
    """Return the labels (K,) of the classes to search, or None for an unconditional generator.

    Raises:
        InputError: the generator does not have the class, has another condition, or has too many classes to try each.
    """
    if sampler.condition is not None and not isinstance(sampler.condition, ClassCondition):
        raise InputError(
            f"the generator takes {sampler.condition.describe()}; a projection needs a generator without a "
            "condition, or with classes"
        )
    if label is not None:
        return sampler.conditions(1, {"class": str(label)})
    if sampler.condition is None:
        return None
    count = len(sampler.class_names)
    if count > MAX_ROWS:
        raise InputError(f"the generator has {count} classes, and at most {MAX_ROWS} are tried; add --class")
    return torch.arange(count)


def mean_squared_error(image: Tensor, target: Tensor) -> float:
    """Return the mean squared error of an image (C, H, W)."""
    return F.mse_loss(image, target).item()
