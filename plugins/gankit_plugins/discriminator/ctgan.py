"""CTGAN's discriminator (Xu 2019), for the rows of a table."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, InputError, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, refuse_texts_and_images

Width = Annotated[int, Field(ge=1)]


class CtganDiscriminatorNetwork(nn.Module):
    """Fully connected network with leaky ReLU and dropout, which maps rows and their conditions to one logit each."""

    def __init__(self, spec: Spec, config: CtganDiscriminator.Config) -> None:
        super().__init__()
        self.conditions = 0 if spec.condition is None else spec.classes or spec.condition.shape[0]
        width, layers = spec.shape[0] + self.conditions, list[nn.Module]()
        for units in config.hidden:
            linear = spec.normalize("discriminator", nn.Linear(width, units), units)
            layers += [linear, nn.LeakyReLU(config.slope), nn.Dropout(config.dropout)]
            width = units
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, 1)

    def forward(self, rows: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, hidden[-1]) of rows (B, F) and their condition."""
        if self.conditions and condition is not None:
            rows = torch.cat([rows, numbers_of(condition, self.conditions).to(rows.dtype)], dim=1)
        features = self.hidden(rows)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class CtganDiscriminator(Plugin):
    """CTGAN's discriminator: fully connected layers with leaky ReLU and dropout, for rows of a table.

    Source: Xu 2019, section 4.4: two layers of 256 units, a negative slope of 0.2, dropout of 0.5, and packs of 10 rows
    with the trick `packing`. The condition, if the data have one, is appended to the row.

    When to use: with the generator `ctgan`.
    When not: for images; use `dcgan` or another network with convolutions.
    """

    name = "ctgan"
    kind = "discriminator"

    class Config(Settings):
        hidden: list[Width] = Field([256, 256], min_length=1, description="widths of the hidden layers")
        slope: float = Field(0.2, ge=0, lt=1, description="negative slope of LeakyReLU")
        dropout: float = Field(0.5, ge=0, lt=1, description="proportion of the hidden units to drop in training")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if len(spec.shape) != 1:
            raise InputError(
                f"{self.name} needs rows of a table, and the samples have {len(spec.shape)} dimensions; use dcgan"
            )
        refuse_texts_and_images(spec, self.name)

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return CtganDiscriminatorNetwork(spec, self.config)
