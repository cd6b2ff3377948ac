"""Uniform prior."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gankit import Plugin, Settings, Spec, hookimpl, truncated


class Uniform(Plugin):
    """Uniform prior: each component of z is drawn from the uniform distribution on [low, high).

    Source: Goodfellow 2014; Radford 2015, with 100 dimensions in [-1, 1].

    When to use: to reproduce a paper that uses this prior.
    When not: for spherical interpolation of z, which requires `normal`.
    """

    name = "uniform"
    kind = "latent"

    class Config(Settings):
        size: int = Field(100, ge=1, description="number of dimensions of z")
        low: float = Field(-1.0, description="lower limit of the interval")
        high: float = Field(1.0, description="upper limit of the interval")

        @model_validator(mode="after")
        def _low_below_high(self) -> Uniform.Config:
            if self.low >= self.high:
                raise ValueError(f"low = {self.low} must be below high = {self.high}")
            return self

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.latent_size = self.config.size

    @hookimpl
    def sample_latent(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        z = torch.empty(count, self.config.size, device=device)
        return z.uniform_(self.config.low, self.config.high, generator=generator)

    @hookimpl
    def truncate_latent(self, z: Tensor, redraw: Callable[[], Tensor], threshold: float) -> Tensor:
        return truncated(z, redraw, threshold)
