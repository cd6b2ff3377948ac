"""Standard normal prior."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl, truncated


class Normal(Plugin):
    """Standard normal prior: each component of z is drawn from N(0, 1).

    Source: Meng 2021, section 1.2, with 100 dimensions. Most other papers use this prior too.

    When to use: nearly always. Spherical interpolation requires this prior.
    When not: to reproduce a paper with a uniform prior, such as Radford 2015; use `uniform`.
    """

    name = "normal"
    kind = "latent"
    spherical_prior = True

    class Config(Settings):
        size: int = Field(100, ge=1, description="number of dimensions of z")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.latent_size = self.config.size

    @hookimpl
    def sample_latent(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        return torch.randn(count, self.config.size, device=device, generator=generator)

    @hookimpl
    def truncate_latent(self, z: Tensor, redraw: Callable[[], Tensor], threshold: float) -> Tensor:
        return truncated(z, redraw, threshold)
