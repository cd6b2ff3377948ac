"""CTGAN's generator (Xu 2019), for the rows of a table."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import numbers_of, refuse_texts_and_images
from gankit_plugins.layers.gumbel_softmax import gumbel_noise, gumbel_softmax
from gankit_plugins.layers.table_columns import Column, columns_of

Width = Annotated[int, Field(ge=1)]


class AppendingLayer(nn.Module):
    """Linear layer with normalisation and ReLU, whose output is appended to its input: (B, M) to (B, N + M)."""

    def __init__(self, spec: Spec, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = spec.normalize("generator", nn.Linear(inputs, outputs), outputs)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU(linear(x)), followed by x."""
        return torch.cat([self.activation(self.linear(x)), x], dim=1)


class CtganNetwork(nn.Module):
    """Network that maps z and a condition to rows. Each column has its own activation: tanh, and Gumbel-softmax."""

    def __init__(self, spec: Spec, config: Ctgan.Config) -> None:
        super().__init__()
        columns = columns_of(spec.encoding, "ctgan")
        self.temperature = config.temperature
        self.conditions = 0 if spec.condition is None else spec.classes or spec.condition.shape[0]
        width, layers = spec.latent_size + self.conditions, []
        for units in config.hidden:
            layers.append(AppendingLayer(spec, width, units))
            width += units
        self.hidden = nn.Sequential(*layers)
        self.to_row = nn.Linear(width, spec.shape[0])
        self.parts = [part for column in columns for part in parts_of(column)]

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate rows (B, F) from z (B, latent_size) and a condition: labels (B,), vectors (B, K), or None.

        In training mode, one-hot vectors are relaxed (Gumbel-softmax). In evaluation mode, they are exact.
        """
        if self.conditions and condition is not None:
            z = torch.cat([z, numbers_of(condition, self.conditions).to(z.dtype)], dim=1)
        outputs = self.to_row(self.hidden(z)).float().split([size for _, size in self.parts], dim=1)
        return torch.cat([self.activate(*one) for one in zip(self.parts, outputs, strict=True)], dim=1)

    def activate(self, part: tuple[str, int], x: Tensor) -> Tensor:
        """Return the activation of one part (B, size) of the row."""
        if part[0] == "tanh":
            return x.tanh()
        if self.training:
            return gumbel_softmax(x, self.temperature)
        return F.one_hot((x + gumbel_noise(x)).argmax(1), part[1]).float()


def parts_of(column: Column) -> list[tuple[str, int]]:
    """Return the activations of a column and the numbers of elements: softmax, for a number after a tanh."""
    softmax = ("softmax", column.choices)
    return [softmax] if column.is_category else [("tanh", 1), softmax]


class Ctgan(Plugin):
    """CTGAN's generator: fully connected layers whose outputs are appended to their inputs, for rows of a table.

    Source: Xu 2019, section 4.4. Each hidden layer has ReLU and the setting `normalization.generator` (paper: batch
    norm). Positions of numbers have tanh; modes and words have Gumbel-softmax at a temperature of 0.2. Samples have
    exact one-hot vectors, whose words are drawn with the probabilities of the softmax. The condition, if the data have
    one, is appended to z.

    When to use: for tables, with the discriminator `ctgan`, the loss `wasserstein` with `gradient_penalty`, and the
    tricks `training_by_sampling` and `packing`.
    When not: for images, and for other data without columns.
    """

    name = "ctgan"
    kind = "generator"

    class Config(Settings):
        hidden: list[Width] = Field([256, 256], min_length=1, description="widths of the hidden layers")
        temperature: float = Field(0.2, gt=0, description="temperature of Gumbel-softmax")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        columns_of(spec.encoding, self.name)
        refuse_texts_and_images(spec, self.name)
        spec.conditional = spec.condition is not None

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return CtganNetwork(spec, self.config)
