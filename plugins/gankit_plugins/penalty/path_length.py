"""Path length regularisation: equal steps in the style vector w change the image by equal amounts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Run, Scheduled, Settings, Step, hookimpl
from gankit_plugins.layers.style_generator import require_style_generator


def path_lengths(images: Tensor, ws: Tensor, y: Tensor) -> Tensor:
    """Return ||J^T y||_2 for each image, (B,), where J is the derivative of the image with respect to w.

    All layers change by the same step in w, so the derivatives of the layers are added. The result is differentiable,
    in float32 or a wider type.

    Args:
        images: images g(w), (B, C, H, W).
        ws: style vector w of each layer, (B, L, W), from which the images were computed.
        y: noise from N(0, 1), (B, C, H, W).

    Source: Karras 2019, section 3.2, equation 4.
    """
    (gradient,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32)).sum(1)
    return torch.linalg.vector_norm(gradient, dim=1)


def scale_of(height: int, width: int) -> float:
    """Return the weight gamma_pl = ln 2 / (r^2 (ln r - ln 2)) for images of r^2 = height * width pixels.

    Source: Karras 2019, appendix B.
    """
    pixels = height * width
    return math.log(2) / (pixels * (math.log(pixels) / 2 - math.log(2)))


class PathLength(Plugin):
    """Penalty on G: a change of the style vector w by a fixed length should change the image by a fixed amount.

    Source: Karras 2019, section 3.2, equation 4: the mean of (||J^T y|| - a)^2. J is the derivative of the image with
    respect to w, and y is random noise. The scalar `a` is the exponential moving average of the lengths ||J^T y||. The
    weight gamma_pl depends on the size of the images. The penalty is computed in every 8th G step. This interval, the
    weight, and the decay 0.99 of the average are from appendix B. Here, the average starts with the mean of the first
    batch. The penalty is computed for every second image of a batch, as in the authors' code.

    When to use: with a generator that has a mapping network, such as `stylegan2`. Interpolations become smoother, and
    w is easier to find for a given image.
    When not: on small or varied images, such as CIFAR-10, where Karras 2020 (appendix D) does not use this penalty.
    """

    name = "path_length"
    kind = "penalty"

    class Config(Settings):
        weight: Scheduled = Field(1.0, gt=0, description="weight in G's loss, as a multiple of the paper's gamma_pl")
        every: int = Field(
            8, ge=1, description="compute the penalty in every n-th G step, with n times its weight (Karras 2019)"
        )
        decay: float = Field(0.99, ge=0, lt=1, description="weight of the past in the average of the lengths")
        shrink: int = Field(2, ge=1, description="use every n-th image of a batch; fewer images cost less")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.average: Tensor | None = None
        """Moving average of the path lengths ||J^T y||: the scalar `a` of the paper. None before the first batch."""

        self.parts: list[Tensor] = []
        """Mean path lengths: a scalar for each micro-batch of the current G step (gradient accumulation)."""

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player == "discriminator":
            return
        generator = require_style_generator(run.generator, self.name)
        scale = scale_of(*run.spec.image_size(self.name))

        def penalty(step: Step) -> Tensor:
            rows = slice(None, None, self.config.shrink)
            ws = generator.styles(step.z[rows], None if step.condition is None else step.condition[rows])
            images = generator.synthesis(ws).float()
            lengths = path_lengths(images, ws, torch.randn_like(images))
            self.parts.append(lengths.detach().mean())
            a = step.run.ranks.mean(self.parts[-1]) if self.average is None else self.average
            return scale * (lengths - a).square().mean()

        yield LossTerm(self.name, penalty, weight=self.config.weight, every=self.config.every)

    @hookimpl
    def after_g_step(self, run: Run) -> None:
        if not self.parts:
            return
        now = run.ranks.mean(torch.stack(self.parts).mean())
        self.average = now if self.average is None else self.average.lerp(now, 1 - self.config.decay)
        self.parts.clear()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.average is None else {"average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average = state.get("average")
